"""A chat completion as it comes, chunk by chunk; the response that it is out, told event by event."""

from typing import Any, TypeVar, cast

import msgspec

from raincheck.core.outcome import Reply
from raincheck.core.responses import Json
from raincheck.upstream.openai.responses.frame import Frame, usage_of
from raincheck.upstream.openai.responses.outgoing import Call, Item, Message, Reasoning
from raincheck.upstream.openai.responses.scribe import Scribe

_CUT_SHORT = {"length": "max_output_tokens", "content_filter": "content_filter"}
_I = TypeVar("_I", Message, Reasoning)


class Narrator:
    """The report (upstream.protocol.Report) of the chat completion: what it hears as chunks it tells as events."""

    def __init__(self, frame: Frame, scribe: Scribe) -> None:
        self._frame = frame
        self._scribe = scribe
        self._items: list[Item] = []
        self._open: list[Item] = []
        """The last of them: one that is no call, or all calls since."""

    def progress(self, fraction: float | None, message: str | None = None) -> None:
        self._scribe.report.progress(fraction, message)

    def delta(self, data: bytes) -> None:
        chunk = cast("Json", msgspec.json.decode(data))
        if choice := _first_choice(chunk):
            self._take(choice)

    async def remote(self, remote_id: str | None) -> None:
        await self._scribe.report.remote(remote_id)

    async def stray(self, remote_id: str) -> None:
        await self._scribe.report.stray(remote_id)

    def finish(self, reply: Reply) -> Reply | None:
        """The response, after the last chunk, by the assembled completion; None when there is no choice in it."""
        chat = cast("Json", msgspec.json.decode(reply.body))
        if (choice := _first_choice(chat)) is None:
            return None
        if self._scribe.count == 0:
            self._take(choice)  # It came in one piece.
        reason = _CUT_SHORT.get(choice.get("finish_reason") or "")
        if not self._items:
            self._be(Message)
        self._close("completed" if reason is None else "incomplete")
        output = [item.whole() for item in self._items]
        usage = usage_of(chat.get("usage"))
        if reason is None:
            response = self._frame.response("completed", output=output, usage=usage)
        else:
            details = {"reason": reason}
            response = self._frame.response("incomplete", output=output, usage=usage, incomplete_details=details)
        self._scribe.write({"type": f"response.{response['status']}", "response": response})
        return Reply(
            msgspec.json.encode(response),
            usage=None if usage is None else msgspec.json.encode(usage),
            incomplete=reason is not None,
            made=self._scribe.made(),
        )

    def _take(self, choice: Json) -> None:
        if self._scribe.count == 0:
            begun = self._frame.response("in_progress")
            self._scribe.write({"type": "response.created", "response": begun})
            self._scribe.write({"type": "response.in_progress", "response": begun})
        said: Any = choice.get("delta") or choice.get("message")
        if not isinstance(said, dict):
            return
        said = cast("Json", said)
        if thought := _text(said, "reasoning_content") or _text(said, "reasoning"):
            self._be(Reasoning).think(thought)
        if text := _text(said, "content"):
            self._be(Message).say(text, _logprobs(choice))
        if refusal := _text(said, "refusal"):
            self._be(Message).refuse(refusal)
        for piece in _objects(said.get("tool_calls")):
            self._call(piece)

    def _be(self, kind: type[_I]) -> _I:
        """The open item if it is of this kind, else a new one after all that were open are closed."""
        if self._open and isinstance(self._open[-1], kind):
            return self._open[-1]
        self._close("completed")
        item = kind(self._scribe, len(self._items))
        self._items.append(item)
        self._open.append(item)
        return item

    def _call(self, piece: Json) -> None:
        calls = [item for item in reversed(self._open) if isinstance(item, Call)]
        call = next((call for call in calls if call.continues(piece)), None)
        if call is None:
            if not calls:
                self._close("completed")
            call = Call(self._scribe, len(self._items), piece)
            self._items.append(call)
            self._open.append(call)
        call.add(piece)

    def _close(self, last: Any) -> None:
        """Close what is open; the last of it with this status."""
        for item in self._open:
            item.close(last if item is self._open[-1] else "completed")
        self._open.clear()


def _first_choice(body: Json) -> Json | None:
    """The choice with the index 0: a response has one answer."""
    choices = _objects(body.get("choices"))
    return next((choice for choice in choices if choice.get("index", 0) == 0), None)


def _logprobs(choice: Json) -> list[Json]:
    logprobs = choice.get("logprobs")
    found = _objects(cast("Json", logprobs).get("content")) if isinstance(logprobs, dict) else []
    return [
        _logprob(each) | {"top_logprobs": [_logprob(top) for top in _objects(each.get("top_logprobs"))]}
        for each in found
    ]


def _logprob(each: Json) -> Json:
    return {"token": each.get("token", ""), "logprob": each.get("logprob", 0.0), "bytes": each.get("bytes") or []}


def _text(said: Json, name: str) -> str | None:
    value = said.get(name)
    return value if isinstance(value, str) else None


def _objects(value: Any) -> list[Json]:
    if not isinstance(value, list):
        return []
    return [cast("Json", item) for item in cast("list[Any]", value) if isinstance(item, dict)]
