"""Lines out of what comes in pieces: their numbers and places, whatever the pieces are and wherever one begins."""

import tracemalloc
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from raincheck.core.batches import Body, Cursor, Part
from raincheck.core.errors import AttachmentGone, StoreUnavailable
from raincheck.intake.batches.lines import BITE, Line, Reading, read_lines
from raincheck.store.blobs import MARK, BlobStore
from tests.intake.batches.inputs import MIB, inline, objects_at, stored, written

LONGEST = 1 << 20

texts = st.lists(
    st.sampled_from(
        [b"a", b"{}", b'{"x": "\xc3\xa9"}', b"\n", b"\r\n", b"\n\n", b" ", b"\t", b"\xef\xbb\xbf", b"zzzzzzzzz"]
    )
).map(b"".join)


async def every_line(reading: AsyncGenerator[list[Line]]) -> list[Line]:
    return [line async for lines in reading for line in lines]


def as_an_editor_shows(text: bytes, longest: int) -> list[tuple[int, bytes]]:
    """The lines that are not blank with their numbers, cut in the plainest way; one that is too long is empty."""
    shown = list[tuple[int, bytes]]()
    for number, line in enumerate(text.split(b"\n"), 1):
        plain = (line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).strip(b" \t\r")
        if len(line) > longest:
            shown.append((number, b""))
        elif plain:
            shown.append((number, plain))
    return shown


@given(texts, st.integers(1, 12), st.sampled_from([4, 1_000]))
@example(b"\xef\xbb\xbfa", 1, 4)
@example(b"a\r\nb", 2, 4)
async def test_the_lines_are_the_same_wherever_the_pieces_end(text: bytes, piece: int, longest: int) -> None:
    lines = await every_line(read_lines(inline(text), None, longest=longest, piece=piece))
    assert [(line.number, line.text) for line in lines] == as_an_editor_shows(text, longest)


@given(texts, st.integers(1, 12))
async def test_reading_goes_on_from_behind_any_line_as_if_it_had_never_stopped(text: bytes, piece: int) -> None:
    lines = await every_line(read_lines(inline(text), None, longest=LONGEST, piece=piece))
    for index, line in enumerate(lines):
        reading = read_lines(inline(text), None, start=line.end, number=line.number + 1, longest=LONGEST, piece=piece)
        assert await every_line(reading) == lines[index + 1 :]


@given(st.lists(texts, min_size=1, max_size=4), st.integers(1, 5), st.integers(1, 40))
async def test_parts_read_as_one_in_any_number_of_takes(texts: list[bytes], most: int, most_bytes: int) -> None:
    parts = list(parts_of(texts))
    whole = await Reading(parts, Cursor(), None, longest=LONGEST).take(10_000, MIB)
    cursor, taken = Cursor(), list[Line]()
    while lines := await (reading := Reading(parts, cursor, None, longest=LONGEST, piece=7)).take(most, most_bytes):
        assert len(lines) <= most
        assert sum(len(line.text) for line in lines[:-1]) < most_bytes
        taken += lines
        cursor = reading.cursor
    assert taken == whole
    expected = [
        (part.first_line + number - 1, line)
        for part, text in zip(parts, texts, strict=True)
        for number, line in as_an_editor_shows(text, LONGEST)
    ]
    assert [(line.number, line.text) for line in whole] == expected


def parts_of(texts: list[bytes]) -> Iterator[Part]:
    first = 1
    for position, text in enumerate(texts):
        lines = text.count(b"\n") + 1
        yield Part(position=position, first_line=first, lines=lines, body=inline(text))
        first += lines


async def test_a_last_line_needs_no_break_and_a_first_one_no_byte_order_mark() -> None:
    lines = await every_line(read_lines(inline(b"\xef\xbb\xbf{}\r\n\r\n [] "), None, longest=LONGEST))
    assert lines == [Line(1, b"{}", 7), Line(3, b"[]", 13)]


async def test_all_that_is_read_is_shown_once_and_in_order(tmp_path: Path) -> None:
    text = b"".join(b"%d\n" % number for number in range(3 * BITE // 5))
    seen = bytearray()
    objects = objects_at(tmp_path)
    body = await stored(objects, text)
    lines = await every_line(read_lines(body, objects, longest=LONGEST, piece=10_000, look=seen.extend))
    assert bytes(seen) == text
    assert [int(line.text) for line in lines] == list(range(3 * BITE // 5))


@pytest.mark.slow("reads 300 MB")
async def test_a_line_of_300_megabytes_is_passed_over_without_being_held(tmp_path: Path) -> None:
    """G12."""
    objects = objects_at(tmp_path)
    body = written(tmp_path, [b"first\n", *[b"x" * MIB] * 300, b"\nlast\n"])
    tracemalloc.start()
    try:
        lines = await every_line(read_lines(body, objects, longest=32 * MIB))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [(line.number, line.text) for line in lines] == [(1, b"first"), (2, b""), (3, b"last")]
    assert peak < 64 * MIB


async def test_a_body_that_has_gone_says_so(tmp_path: Path) -> None:
    gone = Body(size=10, digest="", blob="gone")
    with pytest.raises(AttachmentGone, match="upload it again"):
        await every_line(read_lines(gone, objects_at(tmp_path), longest=LONGEST))
    with pytest.raises(AttachmentGone, match="this server has none"):
        await every_line(read_lines(gone, None, longest=LONGEST))


async def test_after_an_outage_a_reading_goes_on_where_it_was(tmp_path: Path) -> None:
    objects: BlobStore = objects_at(tmp_path)
    text = b"".join(b"%d\n" % number for number in range(1_000))
    part = Part(position=0, first_line=1, lines=None, body=await stored(objects, text))
    reading = Reading([part], Cursor(), objects, longest=LONGEST, piece=100)
    taken = await reading.take(20, MIB)
    mark = tmp_path / "objects" / MARK
    hidden = tmp_path / "hidden"
    (tmp_path / "objects" / "input").rename(hidden)
    mark.unlink()
    before = reading.cursor
    with pytest.raises(StoreUnavailable):
        await reading.take(500, MIB)
    assert reading.cursor == before
    hidden.rename(tmp_path / "objects" / "input")
    mark.touch()
    while lines := await reading.take(500, MIB):
        taken += lines
    assert [int(line.text) for line in taken] == list(range(1_000))
    await reading.aclose()
