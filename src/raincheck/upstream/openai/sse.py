"""Server-sent events out of bytes that come in any pieces (WHATWG HTML, section 9.2)."""

from typing import NamedTuple


class Event(NamedTuple):
    """One event; several data lines are joined by newlines."""

    data: bytes
    name: str = "message"


class EventTooLarge(Exception):
    """A single event outgrew the bound."""


class EventReader:
    """Gathers bytes and gives back the events that became whole.

    Works on bytes throughout, so a UTF-8 character cut in two is whole again before anyone decodes it.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._line: list[bytes] = []
        """The pieces of a line that has not ended."""
        self._data: list[bytes] = []
        self._name = "message"
        self._held = 0

    def feed(self, piece: bytes) -> list[Event]:
        """The events that this piece completes. Raises EventTooLarge."""
        self._held += len(piece)
        if b"\n" not in piece and b"\r" not in piece:
            self._line.append(piece)
            lines: list[bytes] = []
        else:
            block = b"".join((*self._line, piece))
            lines = block.splitlines()
            # A CR at the very end may be the first half of a CRLF: its line waits for the next piece.
            self._line = [] if block.endswith(b"\n") else [lines.pop()]
            if block.endswith(b"\r"):
                self._line.append(b"\r")
        events = self._read(lines)
        if self._held > self._largest:
            raise EventTooLarge
        return events

    def end(self) -> list[Event]:
        """What is left when the bytes have ended: an event whose closing blank line is missing, but no torn line."""
        rest = b"".join(self._line)
        self._line = []
        return self._read([*rest.splitlines(), b""] if rest.endswith(b"\r") else [b""])

    def _read(self, lines: list[bytes]) -> list[Event]:
        events: list[Event] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif not line:
                if self._data:
                    data = b"\n".join(self._data)
                    if len(data) > self._largest:
                        raise EventTooLarge
                    events.append(Event(data, self._name))
                    self._data = []
                self._name = "message"
                self._held = sum(map(len, self._line))
            elif line.startswith(b"event:"):
                self._name = line[6:].strip().decode(errors="replace")
            elif line.startswith(b"error:"):
                # llama.cpp before 2025-08 sends errors as a field of that name.
                self._data.append(line[6:].strip())
                self._name = "error"
        return events
