"""Takes the application and the settings, hands on uvicorn's configuration, with bounds that uvicorn lacks."""

import asyncio
import logging
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import uvicorn
from litestar import Litestar
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from raincheck.core.errors import HeadersTooLarge, SettingsInvalid
from raincheck.core.outcome import RequestError, envelope
from raincheck.core.settings import Settings
from raincheck.http.edge import Limits

CLOSE_WITHIN = 3
"""Seconds that connections get to end when the listener stops: the work behind them has had its own time by then."""


def serve_config(app: Litestar, settings: Settings, limits: Limits | None = None) -> uvicorn.Config:
    """How the application is served. Whoever runs it starts and stops what is behind it: there is no lifespan."""
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    return uvicorn.Config(
        cast("Any", app),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=_bounded(limits or Limits()),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=CLOSE_WITHIN,
        backlog=4096,
    )


class Server(uvicorn.Server):
    """uvicorn without its own signal handlers: stopping has an order here, and the listener comes last."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@contextmanager
def listen(settings: Settings, *, flag: str = "--port") -> Generator[socket.socket]:
    """The listening socket, bound before anything slow starts, so that a taken port is said at once.

    Raises SettingsInvalid when it is taken; `flag` chooses another.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except OSError as error:
            raise SettingsInvalid(
                f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}. "
                f"Stop what uses it, or choose another with {flag}."
            ) from error
        listener.listen(2048)
        listener.setblocking(False)
        yield listener


def _is_news(record: logging.LogRecord) -> bool:
    """Not what uvicorn says of a connection that is cut here on purpose, by an answer without an end; nor what anyone
    could fill the log with, without a key, by talking nonsense."""
    return record.msg not in {
        "ASGI callable returned without completing response.",
        "Invalid HTTP request received.",
    }


def _bounded(limits: Limits) -> type[asyncio.Protocol]:
    class Bounded(BoundedProtocol):
        head_bytes = limits.head_bytes * 2  # The guard's own limit answers better; this one only bounds memory.
        head_seconds = limits.head_seconds

    return Bounded


class BoundedProtocol(HttpToolsProtocol):
    """httptools reads a head of any size for any length of time; this ends one that is too large or too slow."""

    head_bytes: int
    head_seconds: float

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_size = 0
        self._too_slow: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.transport = cast("asyncio.Transport", OneWrite(transport, self.loop))
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._in_head:
            if self._too_slow is not None:
                self._disarm()
            return
        self._head_size += len(data)
        if self._head_size > self.head_bytes:
            self._refuse()
        elif self._too_slow is None:
            self._arm()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._head_size = 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def _arm(self) -> None:
        self._too_slow = self.loop.call_later(self.head_seconds, self.transport.close)

    def _disarm(self) -> None:
        if self._too_slow is not None:
            self._too_slow.cancel()
            self._too_slow = None

    def _refuse(self) -> None:
        if self.transport.is_closing():
            return
        # uvicorn says that a cycle is always there; before the first request there is none.
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is None or cycle.response_complete:
            error = HeadersTooLarge()
            body = envelope(RequestError(error.message, error.kind, error.code))
            self.transport.write(
                b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\n"
                b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
            )
        self.transport.close()


class OneWrite:
    """Sends the head of an answer together with what follows it in the same turn of the loop.

    uvicorn writes the head and the body apart, and each write is a system call and a packet.
    """

    __slots__ = ("_flushing", "_head", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""
        self._flushing: asyncio.Handle | None = None

    def write(self, data: bytes) -> None:
        if self._head:
            self._transport.write(self._take() + data)
        elif data.startswith(b"HTTP/1.1 ") and data.endswith(b"\r\n\r\n"):
            self._head = data
            self._flushing = self._loop.call_soon(self.flush)
        else:
            self._transport.write(data)

    def flush(self) -> None:
        if self._head:
            self._transport.write(self._take())

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _take(self) -> bytes:
        head, self._head = self._head, b""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        return head
