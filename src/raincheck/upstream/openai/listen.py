"""One stream being listened to: its events in, deltas and progress on the way, and in the end a Reply or a Failure."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

import msgspec

from raincheck.core.outcome import Failure, FailureKind, Reply
from raincheck.upstream.openai.assemble import Assembly
from raincheck.upstream.openai.failures import NOT_JSON, streamed, too_large, transient
from raincheck.upstream.openai.payload import Payload
from raincheck.upstream.openai.sse import Event
from raincheck.upstream.protocol import Report


class Listener:
    """Turns the events of one streamed completion into its answer."""

    def __init__(self, name: str, payload: Payload, report: Report, *, legacy: bool, largest: int) -> None:
        self._name = name
        self._report = report
        self._largest = largest
        self._choices = payload.choices
        self._max_tokens = payload.max_tokens
        self._assembly = Assembly(legacy=legacy)
        self._failure: Failure | None = None
        self._done = False

    def take(self, events: Iterable[Event]) -> bool:
        """Take in events as they come; True when nothing after them matters."""
        before = self._assembly.tokens
        over = False
        for event in events:
            if over := self._take(event):
                break
        if (tokens := self._assembly.tokens) != before:
            fraction = min(tokens / self._max_tokens, 1.0) if self._max_tokens else None
            self._report.progress(fraction, f"{tokens} token{'s' if tokens != 1 else ''}")
        return over

    def answer(self, broken: Failure | None = None) -> Reply | Failure:
        """The answer, after the last event; `broken` says how the connection broke if it did.

        A stream is whole when it said [DONE], or every choice said why it ended; one that just stops never is.
        """
        if self._failure is not None:
            return self._failure
        assembly = self._assembly
        if (self._done and assembly.begun) or assembly.finished(self._choices):
            return Reply(assembly.body(), usage=assembly.usage())
        return broken or transient(self._name, "upstream_cut_off", "ended its stream before the answer was whole.")

    def _take(self, event: Event) -> bool:
        data = event.data
        if data == b"[DONE]":
            self._done = True
            return True
        try:
            chunk = _decode(data)
        except NOT_JSON:
            chunk = None
        if not isinstance(chunk, dict):
            self._failure = transient(self._name, "upstream_not_json", "streamed something that is no JSON.", data)
            return True
        return self._chunk(event, cast("dict[str, Any]", chunk))

    def _chunk(self, event: Event, chunk: dict[str, Any]) -> bool:
        if event.name == "error" or chunk.get("error") or chunk.get("object") == "error":
            failure = streamed(self._name, event.data)
            # Busy means that nothing was done; once there was output, this try counts.
            started = failure.kind is FailureKind.BUSY and self._assembly.begun
            self._failure = replace(failure, kind=FailureKind.TRANSIENT) if started else failure
            return True
        self._assembly.add(chunk, len(event.data))
        if self._assembly.size > self._largest:
            self._failure = too_large(self._name, self._largest)
            return True
        # A newline can only be white space here, and a delta travels on as one line.
        self._report.delta(event.data.replace(b"\n", b" "))
        return False


_decode = msgspec.json.Decoder().decode
