"""Builders of small pictures, clips and sounds: real files, made by ffmpeg when first asked for, never checked in."""

import functools
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path

import imageio_ffmpeg


def make_clip(
    path: Path,
    *,
    seconds: float = 1.0,
    size: tuple[int, int] = (160, 90),
    fps: int = 12,
    sound: bool = False,
    colour: str | None = None,
) -> Path:
    """A clip of a moving test card, or of one colour: H.264 for `.mp4`, `.mov`, `.mkv`; VP8 for `.webm`; also `.gif`,
    `.avi`, `.ts`. The index of an MP4 is in front."""
    path.write_bytes(_clip(path.suffix, seconds, size, fps, sound, colour))
    return path


def make_sound(path: Path, *, seconds: float = 1.0) -> Path:
    """A tone: whatever the suffix says (`.mp3`, `.wav`, `.ogg`, `.flac`, `.m4a`)."""
    path.write_bytes(_sound(path.suffix, seconds))
    return path


def make_png(path: Path, *, size: tuple[int, int] = (64, 48), colour: tuple[int, int, int] = (200, 80, 40)) -> Path:
    """A picture of one colour."""
    width, height = size
    row = b"\0" + bytes(colour) * width
    path.write_bytes(_png(width, height, depth=8, kind=2, data=zlib.compress(row * height)))
    return path


def make_picture(path: Path, *, size: tuple[int, int] = (64, 48)) -> Path:
    """A still test card: `.jpg`, `.webp`, `.png` or `.gif`."""
    path.write_bytes(_picture(path.suffix, size))
    return path


def make_png_bomb(path: Path, *, size: tuple[int, int] = (50_000, 50_000)) -> Path:
    """A few kilobytes that decode to gigabytes: one bit a pixel here, four bytes in whoever unpacks it."""
    width, height = size
    rows = bytes((1 + (width + 7) // 8) * 64)
    packer = zlib.compressobj(9)
    start = packer.compress(rows) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(rows) + packer.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(_png(width, height, depth=1, kind=0, data=start + again * (height // 64) + packer.flush()))
    return path


def ffmpeg(*arguments: str | Path) -> None:
    """Run the program to its end; anything but success is an error."""
    program = imageio_ffmpeg.get_ffmpeg_exe()
    fixed = [program, "-hide_banner", "-loglevel", "error", "-nostdin", "-y"]
    subprocess.run([*fixed, *map(str, arguments)], check=True, capture_output=True)


@functools.cache
def _clip(suffix: str, seconds: float, size: tuple[int, int], fps: int, sound: bool, colour: str | None) -> bytes:
    width, height = size
    scene = f"testsrc=s={width}x{height}:r={fps}" if colour is None else f"color={colour}:s={width}x{height}:r={fps}"
    inputs = ["-f", "lavfi", "-i", scene]
    if sound:
        inputs += ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=22050"]
    codec = {
        ".webm": ["-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libvorbis"],
        ".gif": [],
        ".avi": ["-c:v", "mpeg4"],
    }
    coded = codec.get(suffix, ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", str(fps)])
    faststart = ["-movflags", "+faststart"] if suffix in (".mp4", ".mov") else []
    return _made(suffix, *inputs, "-t", f"{seconds}", "-threads", "1", *coded, *faststart)


@functools.cache
def _sound(suffix: str, seconds: float) -> bytes:
    return _made(suffix, "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=22050", "-t", f"{seconds}")


@functools.cache
def _picture(suffix: str, size: tuple[int, int]) -> bytes:
    only_one = ["-frames:v", "1"] if suffix in (".gif", ".webp") else ["-frames:v", "1", "-update", "1"]
    return _made(suffix, "-f", "lavfi", "-i", f"testsrc=s={size[0]}x{size[1]}", *only_one)


def _made(suffix: str, *arguments: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / f"made{suffix}"
        ffmpeg(*arguments, made)
        return made.read_bytes()


def _png(width: int, height: int, *, depth: int, kind: int, data: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
