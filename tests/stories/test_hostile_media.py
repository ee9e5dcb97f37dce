"""What strangers send to a real server as inputs: each is a clear 4xx or a failed request that says why, nothing
crashes, memory stays flat, and a well-meant call works afterwards as before."""

import asyncio
import re
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from openai import APIStatusError

from raincheck import AsyncRaincheck, RequestFailed
from tests.media import make_clip, make_png_bomb
from tests.stories.processes import Server, free_port

CONFIG = """
[[upstream]]
name = "preview"
kind = "preview"

[media]
allowed_hosts = ["127.0.0.1"]
"""
GIB = 1 << 30
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"

pytestmark = pytest.mark.slow("a real server, real ffmpeg, and a host that lies")


async def test_hostile_media_is_refused_with_its_reason_and_costs_nothing(tmp_path: Path) -> None:
    """G12 and G3 for inputs that mean harm."""
    await story(tmp_path)


async def story(folder: Path) -> list[tuple[str, str]]:
    """What was sent, and what was said of it."""
    (folder / "raincheck.toml").write_text(CONFIG)
    server = Server(folder, None, free_port())
    process = await server.start()
    told = list[tuple[str, str]]()
    async with a_host() as host, AsyncRaincheck(base_url=server.base_url, max_retries=0) as client:
        await a_clip(client)
        before = resident(process.pid)
        for name, ask, expected in attacks(folder, host, client):
            words = await refusal(ask())
            assert re.search(expected, words), f"{name}: {words}"
            told.append((name, words))
        told.append(("10 GiB announced by an upload", await announced(server.port, 10 * GIB)))
        assert resident(process.pid) - before < 32 << 20
        await a_clip(client)
    assert await process.terminate() == 0
    assert "crashed" not in (folder / "server.log").read_text()
    return told


def attacks(folder: Path, host: str, client: AsyncRaincheck) -> list[tuple[str, Callable[[], Any], str]]:
    def edit(video: Any) -> Callable[[], Any]:
        return lambda: client.videos.edit(model="preview", video=video, prompt="reverse", wait_for_completion=True)

    def draw(image: Any) -> Callable[[], Any]:
        return lambda: client.videos.generate(
            model="preview", prompt="A boat", image=image, seconds=1, wait_for_completion=True
        )

    clip = make_clip(folder / "clip.mp4", seconds=2).read_bytes()
    bomb = make_png_bomb(folder / "bomb.png").read_bytes()
    private = r"public internet|private|may not be fetched"
    return [
        ("loopback", edit("http://[::1]:9/video.mp4"), private),
        ("loopback in disguise", edit("http://2130706433:9/video.mp4"), r".+"),
        ("link-local, where clouds keep keys", edit("http://169.254.169.254/latest/meta-data"), private),
        ("a private network", edit("https://10.0.0.1/video.mp4"), private),
        ("a redirect to loopback", edit(f"{host}/redirect"), r"redirect"),
        ("10 GiB announced by a host", edit(f"{host}/huge"), r"512 ?M|larger|limit"),
        ("a body without end", edit(f"{host}/endless"), r"512 ?M|larger|limit"),
        ("a page", edit(f"{host}/page"), r"video|picture"),
        ("a file of the server's", edit({"url": "file:///etc/passwd"}), r"http"),
        ("a playlist disguised as MP4", edit(PLAYLIST), r"video|picture"),
        ("an empty file", edit(b""), r"empty|0 bytes|no bytes"),
        ("a truncated MP4", edit(clip[: len(clip) // 2]), r"cut off|whole|broken"),
        ("a zip bomb of a PNG", draw(bomb), r"pixels"),
    ]


async def a_clip(client: AsyncRaincheck) -> None:
    await client.videos.generate(model="preview", prompt="A boat", seconds=1, size="160x96", wait_for_completion=True)


async def refusal(asking: Any) -> str:
    """The status and the words of a call that must be refused, at once or by its end."""
    with pytest.raises((RequestFailed, APIStatusError)) as caught:
        await asking
    if isinstance(caught.value, APIStatusError):
        assert 400 <= caught.value.status_code < 500
        return f"{caught.value.status_code} {caught.value.code}: {caught.value.message}"
    error = caught.value.error
    assert error is not None
    return f"failed {error.code}: {error.message}"


async def announced(port: int, length: int) -> str:
    """The first line of the answer to an upload that says how long it will be."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        + f"Content-Length: {length}\r\n\r\n".encode()
    )
    async with asyncio.timeout(10):
        line = (await reader.readline()).decode().strip()
    writer.close()
    assert " 413 " in line
    return line


@asynccontextmanager
async def a_host() -> AsyncGenerator[str]:
    """A host that means no good, at an address that the server was told to trust."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readline()).split()[1].decode()
        head = {
            "/redirect": b"302 Found\r\nLocation: http://127.0.0.1:9/video.mp4\r\nContent-Length: 0",
            "/huge": b"200 OK\r\nContent-Type: video/mp4\r\nContent-Length: " + str(10 * GIB).encode(),
            "/endless": b"200 OK\r\nContent-Type: video/mp4",
            "/page": b"200 OK\r\nContent-Type: video/mp4\r\nContent-Length: 13",
        }[path]
        writer.write(b"HTTP/1.1 " + head + b"\r\nConnection: close\r\n\r\n")
        try:
            if path == "/page":
                writer.write(b"<html></html>")
            piece = b"\0\0\0\x18ftypmp42" + bytes(1 << 20)
            while path in ("/huge", "/endless"):
                writer.write(piece)
                await writer.drain()
            await writer.drain()
        except OSError:
            pass  # It has hung up, as it should.
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


def resident(pid: int) -> int:
    """Bytes of memory that a process has for itself."""
    [line] = [each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("RssAnon:")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        for sent, said in asyncio.run(story(Path(name))):
            sys.stdout.write(f"{sent:40} {said}\n")
