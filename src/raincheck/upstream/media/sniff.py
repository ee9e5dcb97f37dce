"""The first bytes of a file in, its content type out: what a file is called says nothing.

Only kinds that we are ready to open are known. All else is None: text, archives, pages, and above all playlists, which
make whoever opens them fetch more.
"""

from pathlib import Path

HEAD = 1024
"""How many bytes are enough."""

_PLAIN = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
)
_RIFF = {b"WEBP": "image/webp", b"AVI ": "video/x-msvideo", b"WAVE": "audio/wav"}
_OLD_QUICKTIME = frozenset({b"moov", b"mdat", b"wide"})
_BRANDS = {b"qt  ": "video/quicktime", b"M4A ": "audio/mp4", b"M4B ": "audio/mp4"}
_PICTURE_BRANDS = frozenset(
    {b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1", b"crx "}
)
_TRANSPORT_PACKET = 188
_ENDINGS = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/3gpp": ".3gp",
    "video/webm": ".webm",
    "video/x-matroska": ".mkv",
    "video/x-msvideo": ".avi",
    "video/mp2t": ".ts",
    "video/ogg": ".ogv",
    "audio/ogg": ".ogg",
    "audio/mp4": ".m4a",
    "audio/mpeg": ".mp3",
    "audio/wav": ".wav",
    "audio/flac": ".flac",
    "audio/aac": ".aac",
}


def kind_of(head: bytes) -> str | None:
    """The content type by the first bytes (HEAD of them, or all there are); None when it is nothing we open."""
    for magic, kind in _PLAIN:
        if head.startswith(magic):
            return kind
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12])
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "video/webm" if b"webm" in head[:64] else "video/x-matroska"
    if head.startswith(b"OggS"):
        return "video/ogg" if b"\x80theora" in head[:128] else "audio/ogg"
    if head[4:8] == b"ftyp":
        return _by_brand(head[8:12])
    if head[4:8] in _OLD_QUICKTIME:
        return "video/quicktime"
    if _is_transport_stream(head):
        return "video/mp2t"
    return _by_sync(head)


def head_of(path: Path) -> bytes:
    """A file's first bytes."""
    with path.open("rb") as file:
        return file.read(HEAD)


def ending_of(kind: str) -> str:
    """What the name of such a file ends in, as in `.mp4`; nothing for a kind that is not known here. (The tables of
    `mimetypes` differ from one machine to the next.)"""
    return _ENDINGS.get(kind, "")


def _by_brand(brand: bytes) -> str | None:
    if len(brand) < 4 or brand in _PICTURE_BRANDS:
        return None
    return "video/3gpp" if brand.startswith((b"3gp", b"3g2")) else _BRANDS.get(brand, "video/mp4")


def _is_transport_stream(head: bytes) -> bool:
    """One `G` is a letter, three at the right distance are packets."""
    starts = range(0, 3 * _TRANSPORT_PACKET, _TRANSPORT_PACKET)
    return len(head) > starts[-1] and all(head[start] == ord("G") for start in starts)


def _by_sync(head: bytes) -> str | None:
    """A sound that begins with a frame. The frame's own fields are looked at too: two bytes alone could also be the
    byte order mark of a text."""
    if len(head) < 4 or head[0] != 0xFF:
        return None
    if head[1] & 0xF6 == 0xF0:
        return "audio/aac"
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bitrate, rate = head[2] >> 4, head[2] >> 2 & 3
    is_frame = head[1] & 0xE0 == 0xE0 and version != 1 and layer in (1, 2) and bitrate not in (0, 15) and rate != 3
    return "audio/mpeg" if is_frame else None
