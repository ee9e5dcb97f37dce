"""Connections to strangers that take in little more than content: what comes beside it, heads and framing, is bounded.

aiohttp limits a header and a head, but takes any number of interim answers, of blank lines before the head and of bytes
in a chunk's extension, and reads them as fast as they come: one such stranger keeps the whole process busy.
"""

from functools import partial
from typing import Any

from aiohttp import ClientPayloadError, StreamReader, TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError, RawResponseMessage

MOST_BESIDE = 64 << 10
"""Bytes of an answer that are no content; and as many more as there are bytes of content."""
MOST_INTERIM = 8
"""Answers (1xx) before the answer."""
_STEP = 4 << 10
"""Bytes before the answer that are read at a time: hundreds of interim answers have room in them, not thousands."""


class BoundedConnector(TCPConnector):
    """Its connections break when too much comes: requests fail with `ClientResponseError`, reading a body with
    `ClientPayloadError`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)  # pyright: ignore[reportUnknownMemberType] - one of its options is half typed
        self._factory = partial[ResponseHandler](_Bounded, loop=self._loop)


class _Bounded(ResponseHandler):
    _came = 0
    """Bytes since the request was sent; also while the connection waits for its next."""
    _interim = 0
    _over = False

    def set_response_params(self, **params: Any) -> None:
        """Called for each request, before it is sent."""
        self._came = self._interim = 0
        self._payload = None
        super().set_response_params(**params)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        self._interim += data[0].code < 200
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        if not data:  # What was held back is read on.
            super().data_received(data)
        while data and not self._over:
            step = data[:_STEP] if self._payload is None or self._payload.is_eof() else data
            data = data[len(step) :]
            self._came += len(step)
            super().data_received(step)
            # While its reader is behind, some of the content may not have been told from the rest.
            if not self._reading_paused and self._is_too_much():
                self._break_off()

    def _is_too_much(self) -> bool:
        content = 0 if self._payload is None else self._payload.total_bytes
        return self._interim > MOST_INTERIM or self._came > MOST_BESIDE + 2 * content

    def _break_off(self) -> None:
        self._over = True
        if self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(ClientPayloadError("too much beside the content"))
        self.set_exception(HttpProcessingError(message="too much beside the content"))
        if self.transport is not None:
            self.transport.abort()
