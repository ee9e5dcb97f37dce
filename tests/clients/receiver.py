"""A receiver of webhooks for scripts of checks: the standard library's HTTP server in a thread."""

from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from typing import Any, Self


@dataclass(frozen=True)
class Delivered:
    """One POST as it came."""

    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class Receiver:
    """Takes every POST; it listens within `with`."""

    def __init__(self) -> None:
        self._came = Condition()
        self._received: list[Delivered] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.take(Delivered(self.path, headers, body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def at(self, path: str) -> str:
        """The URL of a path here."""
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def take(self, delivered: Delivered) -> None:
        with self._came:
            self._received.append(delivered)
            self._came.notify_all()

    def wait(self, path: str, count: int = 1, *, of: str = "") -> list[Delivered]:
        """So many deliveries to a path, that say this somewhere; waits for them."""

        def found() -> list[Delivered]:
            return [each for each in self._received if each.path == path and of.encode() in each.body]

        with self._came:
            if not self._came.wait_for(lambda: len(found()) >= count, timeout=30):
                raise AssertionError(f"{len(found())} of {count} deliveries to {path} within 30 s")
            return found()

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
