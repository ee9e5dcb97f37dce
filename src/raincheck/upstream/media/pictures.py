"""A picture's file in, its width and height out, read from its header: nothing is unpacked to learn how large it is."""

import os
from pathlib import Path
from typing import BinaryIO

from raincheck.core.errors import MediaRefused

_MOST_SEGMENTS = 4096
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The markers of frame headers; the three left out are tables."""
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a segment behind them."""


def shape(path: Path, kind: str) -> tuple[int, int]:
    """Width and height in pixels of a PNG, JPEG, GIF or WebP, as it is stored.

    Raises MediaRefused when the header is not whole or names no size.
    """
    with path.open("rb") as file:
        match kind:
            case "image/png":
                found = _png(file.read(33))
            case "image/gif":
                found = _gif(file)
            case "image/webp":
                found = _webp(file.read(30))
            case "image/jpeg":
                found = _jpeg(file)
            case _:
                found = None
    if found is None or not all(found):
        raise MediaRefused("The picture's header is broken: it does not say how large the picture is.")
    return found


def _png(head: bytes) -> tuple[int, int] | None:
    if len(head) < 33 or head[12:16] != b"IHDR":
        return None
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])


def _webp(head: bytes) -> tuple[int, int] | None:
    if len(head) < 30:
        return None
    match head[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
        case b"VP8L" if head[20] == 0x2F:
            bits = int.from_bytes(head[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 " if head[23:26] == b"\x9d\x01\x2a":
            width, height = int.from_bytes(head[26:28], "little"), int.from_bytes(head[28:30], "little")
            return width & 0x3FFF, height & 0x3FFF
        case _:
            return None


def _gif(file: BinaryIO) -> tuple[int, int] | None:
    """The canvas, or what the first frame covers when that is more: some programs make room for it."""
    head = file.read(13)
    if len(head) < 13:
        return None
    canvas = int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
    _skip_colours(file, head[10])
    for _ in range(_MOST_SEGMENTS):
        match file.read(1):
            case b"!":
                file.seek(1, os.SEEK_CUR)
                while length := file.read(1):
                    if not length[0]:
                        break
                    file.seek(length[0], os.SEEK_CUR)
            case b",":
                left, top, width, height = (int.from_bytes(file.read(2), "little") for _ in range(4))
                return max(canvas[0], left + width), max(canvas[1], top + height)
            case _:
                return None
    return None


def _skip_colours(file: BinaryIO, flags: int) -> None:
    if flags & 0x80:
        file.seek(3 << ((flags & 7) + 1), os.SEEK_CUR)


def _jpeg(file: BinaryIO) -> tuple[int, int] | None:
    file.seek(2)
    for _ in range(_MOST_SEGMENTS):
        if file.read(1) != b"\xff":
            return None
        while (marker := file.read(1)) == b"\xff":
            pass
        if not marker or marker[0] == 0xD9:
            return None
        if marker[0] in _JPEG_BARE:
            continue
        length = int.from_bytes(file.read(2))
        if marker[0] in _JPEG_SIZES:
            frame = file.read(5)
            return (int.from_bytes(frame[3:5]), int.from_bytes(frame[1:3])) if len(frame) == 5 else None
        file.seek(max(length - 2, 0), os.SEEK_CUR)
    return None
