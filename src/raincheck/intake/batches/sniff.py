"""Takes the first bytes of a batch's input, hands on why they are no lines of JSON, and what to do about it."""

from collections.abc import Mapping

from raincheck.core.batches import LineError

_PACKED: Mapping[bytes, tuple[str, str]] = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"PK\x03\x04": ("zip", "unzip"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ\x00": ("xz", "unxz"),
    b"7z\xbc\xaf\x27\x1c": ("7z", "7z x"),
}
_WIDE = {b"\xff\xfe\x00\x00": "UTF-32", b"\x00\x00\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_BOM = b"\xef\xbb\xbf"


def not_lines(head: bytes) -> LineError | None:
    """Why a file that begins like this holds no lines; None when it may."""
    for magic, (name, command) in _PACKED.items():
        if head.startswith(magic):
            return _wrong(f"The file is compressed with {name}; unpack it (`{command}`) and upload what comes out.")
    for mark, encoding in _WIDE.items():
        if head.startswith(mark):
            return _wide(encoding)
    if _two_to_a_letter(head):
        return _wide("UTF-16")
    if b"\0" in head and not head.startswith(b"{"):
        return _wrong("The file is binary (it has zero bytes); upload lines of JSON as UTF-8 text.")
    if head.removeprefix(_BOM).lstrip().startswith(b"["):
        return _wrong(
            "The file is one JSON list; write each request on a line of its own (`jq -c '.[]' in.json > in.jsonl`)."
        )
    return None


def _two_to_a_letter(head: bytes) -> bool:
    """UTF-16 without the mark that says so: every other byte is often zero, and none of the others is."""
    zeros = sorted((head[0::2].count(0), head[1::2].count(0)))
    return zeros[0] == 0 and zeros[1] * 4 > len(head) // 2


def _wide(encoding: str) -> LineError:
    shell = f"iconv -f {encoding} -t UTF-8 in.jsonl > out.jsonl"
    return _wrong(f"The file is {encoding} text; save it as UTF-8 (`{shell}`) and upload that.")


def _wrong(message: str) -> LineError:
    return LineError("invalid_file", message, param="input_file_id")
