"""The items of a response in the making: each tells of itself in events, from its first piece to its last."""

from typing import Any, Literal, Protocol, cast

from raincheck.core.ids import new_id
from raincheck.core.responses import Json
from raincheck.upstream.openai.responses.scribe import Scribe

ItemStatus = Literal["completed", "incomplete"]


class Item(Protocol):
    """One entry of a response's `output`."""

    def close(self, status: ItemStatus) -> None:
        """Tell that it is done; called once."""
        ...

    def whole(self) -> Json:
        """The item, as it stands in the finished response."""
        ...


class Message:
    """What the model says, or why it will not."""

    def __init__(self, scribe: Scribe, index: int) -> None:
        self._scribe = scribe
        self._id = new_id("msg")
        self._index = index
        self._parts: list[Json] = []
        self._text: list[str] = []
        self._logprobs: list[Json] = []
        self._status = "in_progress"
        _added(scribe, index, self.whole())

    def say(self, text: str, logprobs: list[Json]) -> None:
        self._part("output_text")
        self._text.append(text)
        self._logprobs += logprobs
        self._tell("output_text.delta", delta=text, logprobs=logprobs)

    def refuse(self, text: str) -> None:
        self._part("refusal")
        self._text.append(text)
        self._tell("refusal.delta", delta=text)

    def close(self, status: ItemStatus) -> None:
        if not self._parts:
            self._part("output_text")
        self._end_part()
        self._status = status
        _done(self._scribe, self._index, self.whole())

    def whole(self) -> Json:
        item = {"id": self._id, "type": "message", "role": "assistant", "status": self._status}
        return item | {"content": list(self._parts)}

    def _part(self, kind: str) -> None:
        """Be in a part of this kind."""
        if self._parts and self._parts[-1]["type"] == kind:
            return
        if self._parts:
            self._end_part()
        part: Json = {"type": kind, "text": "", "annotations": [], "logprobs": []}
        self._parts.append(part if kind == "output_text" else {"type": kind, "refusal": ""})
        self._tell("content_part.added", part=self._parts[-1])

    def _end_part(self) -> None:
        part, text = self._parts[-1], "".join(self._text)
        if part["type"] == "refusal":
            self._parts[-1] = part | {"refusal": text}
            self._tell("refusal.done", refusal=text)
        else:
            self._parts[-1] = part | {"text": text, "logprobs": self._logprobs}
            self._tell("output_text.done", text=text, logprobs=self._logprobs)
        self._tell("content_part.done", part=self._parts[-1])
        self._text, self._logprobs = [], []

    def _tell(self, what: str, **members: Any) -> None:
        at = {"item_id": self._id, "output_index": self._index, "content_index": len(self._parts) - 1}
        self._scribe.write({"type": f"response.{what}", **at, **members})


class Reasoning:
    """What the model thinks before it speaks, as one summary text."""

    def __init__(self, scribe: Scribe, index: int) -> None:
        self._scribe = scribe
        self._id = new_id("rs")
        self._index = index
        self._text: list[str] = []
        self._status = "in_progress"
        _added(scribe, index, self.whole())
        self._tell("part.added", part={"type": "summary_text", "text": ""})

    def think(self, text: str) -> None:
        self._text.append(text)
        self._tell("text.delta", delta=text)

    def close(self, status: ItemStatus) -> None:
        text = "".join(self._text)
        self._tell("text.done", text=text)
        self._tell("part.done", part={"type": "summary_text", "text": text})
        self._status = status
        _done(self._scribe, self._index, self.whole())

    def whole(self) -> Json:
        summary = [{"type": "summary_text", "text": "".join(self._text)}] if self._text else []
        return {"id": self._id, "type": "reasoning", "status": self._status, "summary": summary}

    def _tell(self, what: str, **members: Any) -> None:
        at = {"item_id": self._id, "output_index": self._index, "summary_index": 0}
        self._scribe.write({"type": f"response.reasoning_summary_{what}", **at, **members})


class Call:
    """One function that the model wants called."""

    def __init__(self, scribe: Scribe, index: int, piece: Json) -> None:
        self._scribe = scribe
        self._id = new_id("fc")
        self._index = index
        self._number = piece.get("index")
        self._call_id: str = piece.get("id") or new_id("call")
        self._name: str = _function(piece).get("name") or ""
        self._arguments: list[str] = []
        self._status = "in_progress"
        _added(scribe, index, self.whole())

    def continues(self, piece: Json) -> bool:
        """True when the piece belongs to this call; as in `assemble`, a new id that comes with a name does not."""
        if piece.get("index") not in (None, self._number):
            return False
        new_id_came = piece.get("id") not in (None, "", self._call_id)
        return not (new_id_came and _function(piece).get("name"))

    def add(self, piece: Json) -> None:
        arguments = _function(piece).get("arguments")
        if isinstance(arguments, str) and arguments:
            self._arguments.append(arguments)
            self._tell("delta", delta=arguments)

    def close(self, status: ItemStatus) -> None:
        self._tell("done", name=self._name, arguments="".join(self._arguments))
        self._status = status
        _done(self._scribe, self._index, self.whole())

    def whole(self) -> Json:
        call = {"call_id": self._call_id, "name": self._name, "arguments": "".join(self._arguments)}
        return {"id": self._id, "type": "function_call", "status": self._status, **call}

    def _tell(self, what: str, **members: Any) -> None:
        at = {"item_id": self._id, "output_index": self._index}
        self._scribe.write({"type": f"response.function_call_arguments.{what}", **at, **members})


def _function(piece: Json) -> Json:
    function = piece.get("function")
    return cast("Json", function) if isinstance(function, dict) else {}


def _added(scribe: Scribe, index: int, item: Json) -> None:
    scribe.write({"type": "response.output_item.added", "output_index": index, "item": item})


def _done(scribe: Scribe, index: int, item: Json) -> None:
    scribe.write({"type": "response.output_item.done", "output_index": index, "item": item})
