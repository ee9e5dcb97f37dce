"""Takes the custom ids of a batch line by line, hands on which came twice; most of them wait on disk."""

import asyncio
import secrets
from collections.abc import Iterator
from hashlib import blake2b
from heapq import nsmallest
from struct import Struct
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, NamedTuple

from raincheck.core.errors import StoreUnavailable

SHELVES = 256
"""An id is looked for among those of its shelf only, which fit into memory one shelf at a time."""
SPILL = 16 << 10
"""Bytes of a shelf that are kept in memory before they are written down."""

_ENTRY = Struct("<16sQ")
_WHOLE = SPILL // _ENTRY.size * _ENTRY.size


class Twice(NamedTuple):
    """A line whose custom id an earlier one has."""

    line: int
    first: int


class Seen:
    """The custom ids of any number of lines, in about SHELVES * SPILL bytes of memory.

    Ids are known by 128 bits of a keyed BLAKE2: two of them never look alike, by chance or by design, so a hit need not
    be looked up.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(16)
        self._shelves = [bytearray() for _ in range(SHELVES)]
        self._spilled: list[list[int]] = [[] for _ in range(SHELVES)]
        """Where in the file the blocks of each shelf are."""
        self._file: IO[bytes] | None = None
        self._end = 0

    def add(self, name: str, line: int) -> None:
        """Note the custom id of a line; lines come in order. Raises StoreUnavailable when there is no room for it."""
        digest = blake2b(name.encode(), digest_size=16, key=self._key).digest()
        shelf = self._shelves[digest[0]]
        shelf += _ENTRY.pack(digest, line)
        if len(shelf) >= _WHOLE:
            self._spill(digest[0])

    async def twice(self, limit: int) -> list[Twice]:
        """The first `limit` lines whose id had come before, in order."""
        found = list[Twice]()
        for number in range(SHELVES):
            found = nsmallest(limit, found + await asyncio.to_thread(self._look, number, limit))
        return found

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> "Seen":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _spill(self, number: int) -> None:
        try:
            if self._file is None:
                self._file = TemporaryFile(prefix="raincheck-batch-")  # noqa: SIM115 - closed with the rest
            self._file.seek(self._end)
            self._file.write(self._shelves[number])
            self._file.flush()  # A full disk shows now.
        except OSError as error:
            raise StoreUnavailable(f"The folder for temporary files cannot be written: {error.strerror}.") from error
        self._spilled[number].append(self._end)
        self._end += _WHOLE
        self._shelves[number].clear()

    def _look(self, number: int, limit: int) -> list[Twice]:
        first, found = dict[bytes, int](), list[Twice]()
        for block in self._blocks(number):
            for digest, line in _ENTRY.iter_unpack(block):
                if (earlier := first.setdefault(digest, line)) != line:
                    found.append(Twice(line, earlier))
                    if len(found) == limit:
                        return found
        return found

    def _blocks(self, number: int) -> Iterator[bytes | bytearray]:
        if self._file is not None:
            for at in self._spilled[number]:
                self._file.seek(at)
                yield self._file.read(_WHOLE)
        yield self._shelves[number]
