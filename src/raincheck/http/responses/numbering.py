"""Takes the events of one attempt, hands on those that a client has not seen, under numbers that never mean two things.

An attempt numbers its events from 0. A request that is tried again begins anew, with another text: what its client has
seen must not go on with that. So the events of the second attempt begin at 1,000,000, those of the third at 2,000,000:
the number that a client has seen last tells which attempt it saw, whichever process asks.
"""

from typing import Any

import msgspec

STRIDE = 1_000_000
"""More events than any attempt has."""
TERMINAL = frozenset({"response.completed", "response.failed", "response.incomplete", "error"})
"""Told only once the end is on record: an attempt that says that it failed may yet be tried again."""


class Event(msgspec.Struct):
    """What has to be known of an event in order to pass it on."""

    type: str
    sequence_number: int
    output_index: int = 0
    item: msgspec.Raw = msgspec.Raw(b"null")


_EVENT = msgspec.json.Decoder(Event)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Teller:
    """Remembers what was told to one client."""

    def __init__(self, seen: int | None) -> None:
        self.seen = seen
        """The number of the last event that it has; None when it has none."""
        self._unfinished: dict[int, msgspec.Raw] = {}
        """The items that were begun for it and not ended, by their place in the output."""

    def can_follow(self, base: int) -> bool:
        """Whether an attempt whose events begin at `base` goes on with what this client has seen: some of it, or that
        the response was created and nothing of any answer."""
        return self.seen is None or self.seen >= base or self.seen % STRIDE == 0

    def tell(self, data: bytes, base: int, *, whole: bool = False) -> bytes | None:
        """An event of an attempt that it can follow, as it is sent; None when the client has it, or when it is none.

        Raises Gap when others have to come before it, unless these are the `whole` of the attempt's.
        """
        event = event_of(data)
        if event is None:
            return None
        number = base + event.sequence_number
        due = self._due(base)
        if number < due:
            return None
        if not whole and number != due:
            raise Gap
        self._note(event)
        return self._send(event.type, data if base == 0 else _renumbered(data, number), number)

    def last_word(self, data: bytes, base: int) -> list[bytes]:
        """The same of a terminal event alone, for one who saw an attempt that came to nothing.

        The items that it saw begin are closed first, as incomplete: the terminal event says what there is instead.
        """
        event = event_of(data)
        if event is None or event.type not in TERMINAL:
            return []
        number = base + event.sequence_number
        if self.seen is not None and number <= self.seen:
            return []
        return [*self._closing(), self._send(event.type, _renumbered(data, number), number)]

    def say(self, kind: str, number: int, **members: Any) -> list[bytes]:
        """An event of our own, unless the client is past it."""
        if self.seen is not None and number <= self.seen:
            return []
        body = msgspec.json.encode({"type": kind, "sequence_number": number, **members})
        return [self._send(kind, body, number)]

    def _due(self, base: int) -> int:
        """The number that comes next."""
        if self.seen is None:
            return base
        # Who saw an earlier beginning knows of the creation, which every attempt tells first.
        return max(self.seen, base) + 1

    def _send(self, kind: str, data: bytes, number: int) -> bytes:
        self.seen = number
        # A newline can only be white space in JSON, and in an event it would end the data.
        if b"\n" in data or b"\r" in data:
            data = data.replace(b"\r", b" ").replace(b"\n", b" ")
        return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"

    def _note(self, event: Event) -> None:
        if event.type == "response.output_item.added":
            self._unfinished[event.output_index] = event.item
        elif event.type == "response.output_item.done":
            self._unfinished.pop(event.output_index, None)

    def _closing(self) -> list[bytes]:
        told = list[bytes]()
        for place, raw in sorted(self._unfinished.items()):
            item = _MEMBERS.decode(raw) | {"status": msgspec.Raw(b'"incomplete"')}
            number = 0 if self.seen is None else self.seen + 1
            told += self.say("response.output_item.done", number, output_index=place, item=item)
        self._unfinished.clear()
        return told


class Gap(Exception):
    """Events between this one and the last one told are not at hand; they are once the request has ended."""


def event_of(data: bytes) -> Event | None:
    """An event of a response; None for anything else that an upstream may have said."""
    try:
        return _EVENT.decode(data)
    except msgspec.DecodeError:
        return None


def _renumbered(data: bytes, number: int) -> bytes:
    members = _MEMBERS.decode(data)
    members["sequence_number"] = msgspec.Raw(str(number).encode())
    return msgspec.json.encode(members)
