"""Chunks of a streamed completion in, the body a non-streamed call would have had out.

Known texts (content, arguments, …) are joined. Of everything else lists grow, objects merge, and otherwise the last
word wins that is not empty: so members nobody has heard of yet are kept.
"""

from typing import Any, cast

import msgspec

Json = dict[str, Any]

_TEXTS = frozenset({"content", "reasoning_content", "reasoning", "refusal"})
_CALL_TEXTS = frozenset({"arguments", "input"})
_AUDIO_TEXTS = frozenset({"data", "transcript"})
_PIECE = 64
"""What holding one piece of text costs beside its characters, in bytes."""


class Assembly:
    """One answer in the making, of `/chat/completions` or (legacy) of `/completions`."""

    def __init__(self, *, legacy: bool = False) -> None:
        self.tokens = 0
        """Tokens so far: what the upstream counted, or the number of pieces."""
        self.size = 0
        """Roughly the bytes held."""
        self._legacy = legacy
        self._top: Json = {}
        self._last: Json = {}
        self._choices: dict[int, _Choice] = {}

    def add(self, chunk: Json, size: int) -> None:
        """Take in one chunk that was `size` bytes long, and keep it; what does not look like one changes nothing."""
        choices = chunk.pop("choices", None)
        # Most chunks are alike but for their choices.
        if chunk != self._last:
            self._last = chunk
            for key, value in chunk.items():
                _last_wins(self._top, key, value)
        pieces = characters = 0
        for choice in _objects(choices):
            index = choice.get("index")
            index = index if isinstance(index, int) else 0
            if index not in self._choices:
                self._choices[index] = _Choice(index)
            took = self._choices[index].add(choice)
            pieces += took > 0
            characters += took
        # A chunk's frame is a few hundred bytes that are not kept; one that is longer brings more than text.
        self.size += characters + _PIECE if size - characters < 1024 else size
        self._count(pieces, chunk.get("usage"))

    @property
    def begun(self) -> bool:
        return bool(self._choices)

    def finished(self, choices: int) -> bool:
        """True when at least so many choices were begun, and each said why it ended."""
        return len(self._choices) >= max(choices, 1) and all(choice.finished for choice in self._choices.values())

    def usage(self) -> bytes | None:
        usage = self._top.get("usage")
        return None if usage is None else msgspec.json.encode(usage)

    def body(self) -> bytes:
        """The whole answer as JSON."""
        choices = [self._choices[index].whole(legacy=self._legacy) for index in sorted(self._choices)]
        kind = "text_completion" if self._legacy else "chat.completion"
        return msgspec.json.encode(self._top | {"object": kind, "choices": choices})

    def _count(self, pieces: int, usage: Any) -> None:
        counted = cast("Json", usage).get("completion_tokens") if isinstance(usage, dict) else None
        # llama.cpp counts one choice only; progress never goes back.
        self.tokens = max(self.tokens + pieces, counted) if isinstance(counted, int) else self.tokens + pieces


class _Choice:
    """One of the answer's choices."""

    def __init__(self, index: int) -> None:
        self._members: Json = {"index": index, "finish_reason": None}
        self._text: list[str] = []
        self._message = _Object(_TEXTS)
        self._audio = _Object(_AUDIO_TEXTS)
        self._function = _Object(_CALL_TEXTS)
        self._calls: list[_Call] = []

    @property
    def finished(self) -> bool:
        # "abort" is how vLLM and SGLang say that they were stopped, not that the model was done.
        return self._members["finish_reason"] not in (None, "", "abort")

    def add(self, choice: Json) -> int:
        """Take in this choice's part of a chunk; the characters of text it brought."""
        took = 0
        for key, value in choice.items():
            match key:
                case "delta":
                    took += self._say(value)
                case "index":
                    pass
                case "message":
                    # Some send the whole message so far beside each delta.
                    took += self._say(value) if "delta" not in choice else 0
                case "text" if isinstance(value, str):
                    self._text.append(value)
                    took += len(value)
                case _:
                    _fold(self._members, key, value)
        return took

    def whole(self, *, legacy: bool) -> Json:
        if legacy:
            return self._members | {"text": "".join(self._text)}
        message: Json = {"role": "assistant", "content": None} | self._message.whole()
        if self._calls:
            message["tool_calls"] = [call.whole() for call in self._calls]
        for key, part in (("audio", self._audio), ("function_call", self._function)):
            if whole := part.whole():
                message[key] = whole
        if message["content"] == "" and any(message.get(key) for key in ("tool_calls", "function_call", "refusal")):
            message["content"] = None
        return self._members | {"message": message}

    def _say(self, delta: Any) -> int:
        if not isinstance(delta, dict):
            return 0
        took = 0
        for key, value in cast("Json", delta).items():
            match key:
                case "tool_calls":
                    took += sum(self._call(piece) for piece in _objects(value))
                case "function_call":
                    took += self._function.add(value)
                case "audio":
                    took += self._audio.add(value)
                case _:
                    took += self._message.take(key, value)
        return took

    def _call(self, piece: Json) -> int:
        found = next((call for call in reversed(self._calls) if call.continues(piece)), None)
        if found is None:
            found = _Call(piece.get("index"))
            self._calls.append(found)
        return found.add(piece)


class _Call:
    """One tool call."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self._members: Json = {}
        self._inner: dict[str, _Object] = {}

    def continues(self, piece: Json) -> bool:
        """True when the piece belongs to this call.

        The index says so. But some servers leave it out, and some give every parallel call the index 0: there a new
        id that comes with a name begins a new call.
        """
        if piece.get("index") not in (None, self._index):
            return False
        new_id = piece.get("id") not in (None, "", self._members.get("id", piece.get("id")))
        return not (new_id and any(inner.get("name") for inner in _objects([*piece.values()])))

    def add(self, piece: Json) -> int:
        took = 0
        for key, value in piece.items():
            if key in ("function", "custom"):
                took += self._inner.setdefault(key, _Object(_CALL_TEXTS)).add(value)
            elif key != "index":
                _fold(self._members, key, value)
        return took

    def whole(self) -> Json:
        return {"type": "function"} | self._members | {key: inner.whole() for key, inner in self._inner.items()}


class _Object:
    """A JSON object that comes in pieces; the strings of some of its members are joined."""

    def __init__(self, joined: frozenset[str]) -> None:
        self._joined = joined
        self._members: Json = {}
        self._texts: dict[str, list[str]] = {}

    def add(self, piece: Any) -> int:
        """Take in a piece if it is an object; the characters of text it brought."""
        return (
            sum(self.take(key, value) for key, value in cast("Json", piece).items()) if isinstance(piece, dict) else 0
        )

    def take(self, key: str, value: Any) -> int:
        if key in self._joined and isinstance(value, str):
            self._texts.setdefault(key, []).append(value)
            return len(value)
        _fold(self._members, key, value)
        return 0

    def whole(self) -> Json:
        return self._members | {key: "".join(pieces) for key, pieces in self._texts.items()}


def _fold(into: Json, key: str, value: Any) -> None:
    old = into.get(key)
    if value is None and key in into:
        return
    if isinstance(old, list) and isinstance(value, list):
        cast("list[Any]", old).extend(cast("list[Any]", value))
    elif isinstance(old, dict) and isinstance(value, dict):
        for name, part in cast("Json", value).items():
            _fold(cast("Json", old), name, part)
    else:
        _last_wins(into, key, value)


def _last_wins(into: Json, key: str, value: Any) -> None:
    if key not in into or (value is not None and value != ""):
        into[key] = value


def _objects(value: Any) -> list[Json]:
    if not isinstance(value, list):
        return []
    return [cast("Json", item) for item in cast("list[Any]", value) if isinstance(item, dict)]
