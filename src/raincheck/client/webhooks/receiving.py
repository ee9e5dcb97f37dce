"""A small HTTP server in a thread: takes deliveries, verifies them, answers what it is told to, and keeps them all."""

import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from raincheck.webhooks import Event, WebhookError, verify


@dataclass(frozen=True, slots=True)
class Answer:
    """What to answer to a delivery."""

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Received:
    """A delivery that was verified. `status` is what was answered; while the answer is being made, 0."""

    event: Event
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    status: int = 0


@dataclass(frozen=True, slots=True)
class Rejected:
    """A delivery that was not authentic; it was answered with 400."""

    error: WebhookError
    headers: dict[str, str]
    body: bytes


Answering = int | Callable[[Received], int | Answer]
"""A status for all, or a function of the delivery; it is called in a thread of its own."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class _Server6(_Server):
    address_family = socket.AF_INET6


class Receiver:
    """Everything that came in, for any number of threads to wait for."""

    def __init__(self, secrets: list[str], answer: Answering) -> None:
        self.secrets = secrets
        self.received: list[Received] = []
        self.rejected: list[Rejected] = []
        self.changed = threading.Condition()
        self.closed = False
        self.on_change: Callable[[], object] = lambda: None
        """Called from any thread, when something came in and at the end."""
        self.ready = threading.Event()
        """While this is not set, deliveries are held back: their secret may not be known yet."""
        self.ready.set()
        self._answer = answer
        self._waiting: list[Event] = []

    def start(self, host: str, port: int) -> int:
        """Listen, and say on which port. Raises OSError."""
        self._server = (_Server6 if ":" in host else _Server)((host, port), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self._server.server_address[1]

    def stop(self) -> None:
        self.ready.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        with self.changed:
            self.closed = True
        self._tell()

    def take(self, kind: str | None, about: str | None) -> Event | None:
        """The first event that fits and was not taken yet. `about` is an event's own id, or that of its object."""
        with self.changed:
            for place, event in enumerate(self._waiting):
                if kind in (None, event.type) and about in (None, event.id, event.data.id):
                    return self._waiting.pop(place)
        return None

    def accept(self, headers: dict[str, str], body: bytes) -> Answer:
        """Take one delivery in and say what to answer."""
        self.ready.wait()
        try:
            event = verify(body, headers, self.secrets)
        except WebhookError as error:
            with self.changed:
                self.rejected.append(Rejected(error, headers, body))
            self._tell()
            return Answer(400, {"content-type": "text/plain; charset=utf-8"}, f"{error}\n".encode())
        answer = Answer(500)
        try:
            answer = self._made(Received(event, headers, body))
        finally:
            with self.changed:
                self.received.append(Received(event, headers, body, answer.status))
                self._waiting.append(event)
            self._tell()
        return answer

    def _made(self, received: Received) -> Answer:
        made = self._answer if isinstance(self._answer, int) else self._answer(received)
        return Answer(made) if isinstance(made, int) else made

    def _tell(self) -> None:
        with self.changed:
            self.changed.notify_all()
        self.on_change()


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        # HTTP/1.0: a connection that stayed open would go on taking deliveries when the receiver has stopped.
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                answer = receiver.accept(headers, body)
            except Exception:
                self._send(Answer(500))
                raise  # shown on stderr: the fault is in the test's own function
            self._send(answer)

        def _send(self, answer: Answer) -> None:
            try:
                self.send_response(answer.status)
                for name, value in {**answer.headers, "content-length": str(len(answer.body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)
            except OSError:
                pass  # the sender has left

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as http.server names it
            pass

    return Handler
