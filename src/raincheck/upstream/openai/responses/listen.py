"""One response as its own server streams or answers it: events in, numbered events and a Reply or a Failure out."""

from collections.abc import Iterable
from typing import Any, cast

import msgspec

from raincheck.core.outcome import Failure, Reply
from raincheck.core.responses import Json
from raincheck.upstream.openai.failures import NOT_JSON, transient
from raincheck.upstream.openai.responses.failed import failed
from raincheck.upstream.openai.responses.frame import Frame
from raincheck.upstream.openai.responses.retell import retold
from raincheck.upstream.openai.responses.scribe import Scribe
from raincheck.upstream.openai.sse import Event

_ENDS = frozenset({"response.completed", "response.incomplete"})


class ResponseListener:
    """Takes in what a server sends in answer to one call.

    An event that says that it failed is not handed on: another try may follow, and who reads shall not have been told
    of an end.
    """

    def __init__(self, name: str, frame: Frame, scribe: Scribe, most_tokens: int | None) -> None:
        self.partial = False
        """The server has only some of the API: its events lack what every client counts on."""
        self._name = name
        self._frame = frame
        self._scribe = scribe
        self._most = most_tokens
        self._tokens = 0
        self._begun = False
        self._response: Json | None = None
        self._failure: Failure | None = None

    def take(self, events: Iterable[Event]) -> bool:
        """Take in events as they come; True when nothing after them matters. Raises EventsTooLarge."""
        before = self._tokens
        over = any(self._take(event) for event in events)
        if self._tokens != before:
            fraction = min(self._tokens / self._most, 1.0) if self._most else None
            self._scribe.report.progress(fraction, f"{self._tokens} token{'s' if self._tokens != 1 else ''}")
        return over

    def whole(self, body: bytes) -> None:
        """Take in an answer that came in one piece. Raises EventsTooLarge."""
        response = _object(body)
        if response is None:
            self._failure = transient(self._name, "upstream_not_json", "answered something that is no JSON.", body)
        elif response.get("error") and not response.get("output"):
            self._failure = failed(self._name, response, begun=False)
        elif response.get("object") != "response":
            self._failure = transient(self._name, "upstream_not_json", "answered something that is no response.", body)
        elif response.get("status", "completed") not in ("completed", "incomplete"):
            self._failure = transient(self._name, "upstream_cut_off", "answered before its response was whole.", body)
        else:
            self._response = self._frame.theirs({"status": "completed"} | response)
            for event in retold(self._response):
                self._scribe.write(event)

    def answer(self, broken: Failure | None = None) -> Reply | Failure:
        """The answer, after the last event; `broken` says how the connection broke if it did."""
        if self._failure is not None:
            return self._failure
        if self._response is None:
            what = "ended its stream before the response was whole."
            return broken or transient(self._name, "upstream_cut_off", what)
        usage = self._response.get("usage")
        return Reply(
            msgspec.json.encode(self._response),
            usage=None if usage is None else msgspec.json.encode(usage),
            incomplete=self._response.get("status") == "incomplete",
            made=self._scribe.made(),
        )

    def _take(self, event: Event) -> bool:
        if event.data == b"[DONE]":
            return True
        said = _object(event.data)
        if said is None:
            what = "streamed something that is no JSON."
            self._failure = transient(self._name, "upstream_not_json", what, event.data)
            return True
        kind = said.get("type")
        if kind == "error" or event.name == "error" or (kind is None and said.get("error")):
            self._failure = failed(self._name, said, begun=self._begun)
            return True
        if not isinstance(kind, str) or not kind.startswith("response."):
            return False  # Some keep the line open with words of their own.
        return self._event(kind, said)

    def _event(self, kind: str, said: Json) -> bool:
        if self._scribe.count == 0 and not isinstance(said.get("sequence_number"), int):
            self.partial = True
            return True
        response: Any = said.get("response")
        if isinstance(response, dict):
            if kind == "response.failed":
                self._failure = failed(self._name, cast("Json", response), begun=self._begun)
                return True
            said["response"] = self._frame.theirs(cast("Json", response))
        if "response_id" in said:
            said["response_id"] = self._frame.id
        if self._scribe.count == 0 and kind != "response.created":
            # Whoever waited in the queue was told of the creation, and takes the first event for that.
            self._scribe.write({"type": "response.created", "response": self._frame.response("in_progress")})
        self._begun = self._begun or kind.startswith("response.output_item.")
        self._tokens += kind.endswith(".delta")
        self._scribe.write(said)
        if kind in _ENDS and isinstance(response, dict):
            self._response = said["response"]
            return True
        return False


def _object(data: bytes) -> Json | None:
    try:
        whole = msgspec.json.decode(data)
    except NOT_JSON:
        return None
    return cast("Json", whole) if isinstance(whole, dict) else None
