"""Servers that say what a test tells them to, on a real socket: `ScriptedServer` itself, and two that play a part."""

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

VERSION = {"Raincheck-Version": "0.0.0"}


@dataclass(frozen=True, slots=True)
class Asked:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """`body`: bytes as they are, anything else as JSON. `hang_up`: close the connection without a word."""

    status: int = 200
    body: object = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    stream: Iterable[bytes] | None = None
    hang_up: bool = False


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class ScriptedServer:
    def __init__(self, answer: Callable[[Asked], Answer]) -> None:
        self.asked: list[Asked] = []
        self._answer = answer

    def __enter__(self) -> "ScriptedServer":
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def paths(self) -> list[str]:
        return [f"{asked.method} {asked.path}" for asked in self.asked]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                url = urlsplit(self.path)
                raw = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                body: dict[str, Any] = json.loads(raw) if raw else {}
                asked = Asked(self.command, url.path, dict(parse_qsl(url.query)), headers, body)
                outer.asked.append(asked)
                self._send(outer.answer(asked))

            do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - the names http.server looks for

            def _send(self, answer: Answer) -> None:
                if answer.hang_up:
                    self.close_connection = True
                    return
                raw = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                try:
                    self.send_response(answer.status)
                    for name, value in answer.headers.items():
                        self.send_header(name, value)
                    if answer.stream is None:
                        if raw:
                            self.send_header("Content-Type", "application/json")
                        self.send_header("Content-Length", str(len(raw)))
                        self.end_headers()
                        self.wfile.write(raw)
                    else:
                        self.send_header("Content-Type", "text/event-stream")
                        self.send_header("Connection", "close")
                        self.end_headers()
                        self.close_connection = True
                        for piece in answer.stream:
                            self.wfile.write(piece)
                            self.wfile.flush()
                except OSError:
                    self.close_connection = True  # the client left first

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as http.server names it
                pass

        return Handler

    def answer(self, asked: Asked) -> Answer:
        return self._answer(asked)


def a_completion(text: str = "hello") -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1790000000,
        "model": "tiny",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    }


def a_record(status: str = "pending", **fields: Any) -> dict[str, Any]:
    record = {"id": "req_1", "object": "request", "status": status, "operation": "chat.completion", "model": "tiny"}
    if status == "completed":
        record |= {"result": a_completion(), "result_status": 200}
    if status == "pending":
        record |= {"position": 3, "eta_seconds": 4.2}
    return record | fields


class FakeRaincheck:
    """One request on a server that speaks the native paths. It is held at its status until `move` is called, and reads
    and submits with `wait` are held with it, as the real one holds them."""

    def __init__(self, **record: Any) -> None:
        self.record = a_record(**record)
        self.trouble: list[Answer] = []
        """Answers to give instead, before anything else is said."""
        self._moved = threading.Condition()
        self.reading = threading.Event()

    def move(self, status: str, **fields: Any) -> None:
        with self._moved:
            self.record = a_record(status, **fields)
            self._moved.notify_all()

    def __call__(self, asked: Asked) -> Answer:
        if self.trouble:
            return self.trouble.pop(0)
        if asked.path.endswith("/cancel"):
            if self.record["status"] in ("pending", "processing"):
                self.move("cancelled")
        elif asked.path.startswith("/v1/requests/"):
            self._hold(float(asked.query.get("wait", 0)), asked.query.get("since"))
        elif (preferred := asked.headers.get("prefer", "").partition("wait="))[1]:
            self._hold(float(preferred[2]), self.record["status"])
        return Answer(200, self.record, VERSION)

    def _hold(self, seconds: float, since: str | None) -> None:
        self.reading.set()
        with self._moved:
            self._moved.wait_for(lambda: self._news(since), seconds)

    def _news(self, since: str | None) -> bool:
        return self.record["status"] not in ("pending", "processing") or self.record["status"] != since


def the_original(*answers: Answer) -> Callable[[Asked], Answer]:
    """The hosted service: a bare id for a submit, then an answer per poll, the last one for ever."""
    polls = list(answers)

    def answer(asked: Asked) -> Answer:
        if asked.method == "POST" and asked.path == "/v1/chat/completions":
            return Answer(200, {"request_id": "b5c0"})
        if asked.path == "/v1/chat/deferred-completion/b5c0":
            return polls.pop(0) if len(polls) > 1 else polls[0]
        return Answer(404, {"code": "Not found", "error": "no such path"})

    return answer
