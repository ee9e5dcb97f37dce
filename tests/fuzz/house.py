"""A fresh `raincheck serve` as users start it, with an API key and scripted upstreams: all real processes."""

import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from tests.media import make_clip
from tests.stories.processes import RAINCHECK, Process, free_port, start

MODELS = ("smollm2-135m", "nomic-embed")
"""As the document's examples name them."""
VIDEO_MODELS = ("preview",)


@dataclass(frozen=True, slots=True)
class House:
    """What is fuzzed."""

    url: str
    key: str
    outside: str
    """Where webhooks may go, and are answered 200; where a clip may be fetched from."""
    log: Path
    """What the server said on stderr."""
    server: Process

    @property
    def alive(self) -> bool:
        return self.server.process.returncode is None


@asynccontextmanager
async def a_house(folder: Path) -> AsyncGenerator[House]:
    """A server whose store and objects are in `folder`."""
    started: list[Process] = []
    try:
        chats = await _upstream(folder, "tests.scripted", MODELS, "--delay", "0.02")
        started.append(chats)
        videos = await _upstream(folder, "tests.scripted_videos", VIDEO_MODELS, "--seconds", "0.2")
        started.append(videos)
        chat_url, video_url = (each.first_line.split()[-1] for each in (chats, videos))
        (folder / "raincheck.toml").write_text(_settings(chat_url, video_url))
        key = _key(folder)
        port = free_port()
        log = folder / "server.log"
        server = await start([RAINCHECK, "serve", "--json", "--port", str(port)], cwd=folder, log=log)
        started.append(server)
        with _outside(make_clip(folder / "clip.mp4").read_bytes()) as outside:
            yield House(f"http://127.0.0.1:{port}", key, outside, log, server)
    finally:
        for process in reversed(started):
            await process.kill()


async def _upstream(folder: Path, module: str, models: tuple[str, ...], *options: str) -> Process:
    command = [sys.executable, "-m", module, "--port", "0", "--models", *models, *options]
    return await start(command, cwd=folder, log=folder / "upstreams.log")


@contextmanager
def _outside(clip: bytes) -> Generator[str]:
    """All the rest of the world: a receiver of webhooks that has a clip."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "video/mp4")
            self.send_header("content-length", str(len(clip)))
            self.end_headers()
            with suppress(OSError):  # Who asked for it may have been cancelled.
                self.wfile.write(clip)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _key(folder: Path) -> str:
    """The first key shuts the server for all who have none."""
    command = [RAINCHECK, "keys", "create", "fuzz", "--json"]
    made = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return json.loads(made.stdout)["key"]


def _settings(chats: str, videos: str) -> str:
    return f"""
[webhooks]
allow = ["127.0.0.1"]
timeout = "2s"

[media]
allowed_hosts = ["127.0.0.1"]

[[upstream]]
name = "chats"
base_url = "{chats}"

[[upstream]]
name = "videos"
kind = "videos"
base_url = "{videos}"
"""
