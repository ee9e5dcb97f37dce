"""A batch's whole input: what is in a good one, and what is told of every kind of bad one."""

import asyncio
import bz2
import gzip
import tracemalloc
from pathlib import Path

import msgspec
import pytest

from raincheck.core.batches import MOST_ERRORS, Body, LineError
from raincheck.core.errors import StoreUnavailable
from raincheck.intake.batches.check import MOST_QUEUES, Checked, Refused, check
from tests.intake.batches.inputs import (
    CHAT,
    MIB,
    a_call,
    a_line,
    inline,
    lines_of,
    objects_at,
    some_lines,
    stored,
    written,
)


async def verdict(text: bytes, *, endpoint: str | None = CHAT, xai: bool = False) -> Checked | Refused:
    return await check(inline(text), await lines_of(endpoint, xai=xai), None, longest=MIB)


async def errors(text: bytes) -> tuple[LineError, ...]:
    found = await verdict(text)
    assert isinstance(found, Refused)
    return found.errors


async def the_error(text: bytes) -> LineError:
    [error] = await errors(text)
    return error


async def test_a_good_file_is_counted_by_queue() -> None:
    text = a_line("a") + b"\n\n" + a_line("b", body=a_call("other")) + b"\n" + a_line("c") + b"\n"
    assert await verdict(text) == Checked(3, {"small": 2, "other": 1}, None)
    assert await verdict(some_lines(5)) == Checked(5, {"small": 5}, "small")


async def test_windows_line_ends_a_byte_order_mark_and_no_last_break_are_fine() -> None:
    text = b"\xef\xbb\xbf" + a_line("a") + b"\r\n" + a_line("b") + b"\r\n\r\n" + a_line("c")
    assert await verdict(text) == Checked(3, {"small": 3}, "small")


@pytest.mark.slow("reads a hundred thousand lines")
async def test_one_broken_line_in_a_hundred_thousand_is_the_one_that_is_named(tmp_path: Path) -> None:
    objects = objects_at(tmp_path)
    good = some_lines(100_000).splitlines(keepends=True)
    good[54_320] = b'{"custom_id": "broken", \n'
    body = await stored(objects, b"".join(good))
    found = await check(body, await lines_of(), objects, longest=MIB)
    assert isinstance(found, Refused)
    assert [(error.line, error.code) for error in found.errors] == [(54_321, "invalid_json_line")]


async def test_ids_that_come_twice_are_named_with_the_line_that_had_them_first() -> None:
    text = some_lines(3) + a_line("request-2") + b"\n"
    error = await the_error(text)
    assert (error.line, error.code, error.param) == (4, "duplicate_custom_id", "custom_id")
    assert "line 2" in error.message


async def test_the_first_hundred_errors_are_told_in_order_whatever_they_are() -> None:
    bad = b"".join(a_line("same") + b"\n" + b"oops\n" for _ in range(150))
    found = await errors(bad)
    assert len(found) == MOST_ERRORS
    assert [error.line for error in found] == list(range(2, 102))
    assert {error.code for error in found} == {"duplicate_custom_id", "invalid_json_line"}


@pytest.mark.slow("reads 300 MB")
async def test_a_line_of_300_megabytes_is_refused_by_its_number_and_never_held(tmp_path: Path) -> None:
    """G12."""
    objects = objects_at(tmp_path)
    start = a_line("one").rstrip(b"}")
    body = written(tmp_path, [a_line("zero") + b"\n", start, *[b"x" * MIB] * 300, b"}\n", a_line("two") + b"\n"])
    lines = await lines_of()
    tracemalloc.start()
    try:
        found = await check(body, lines, objects, longest=32 * MIB)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(found, Refused)
    assert [(error.line, error.code) for error in found.errors] == [(2, "line_too_long")]
    assert peak < 64 * MIB


@pytest.mark.parametrize("text", [b"", b"\n\r\n  \n\t\n", b"\xef\xbb\xbf", b"\n" * 200_000])
async def test_a_file_without_requests_says_so(text: bytes) -> None:
    error = await the_error(text)
    assert (error.code, error.line, error.param) == ("empty_file", None, "input_file_id")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (gzip.compress(some_lines(9)), "compressed with gzip; unpack it"),
        (bz2.compress(some_lines(9)), "compressed with bzip2"),
        (b"\x28\xb5\x2f\xfd" + bytes(range(99)), "compressed with zstd"),
        (b"PK\x03\x04" + bytes(range(99)), "compressed with zip"),
        (some_lines(9).decode().encode("utf-16"), "UTF-16 text; save it as UTF-8"),
        (some_lines(9).decode().encode("utf-16-le"), "UTF-16 text"),
        (some_lines(9).decode().encode("utf-16-be"), "UTF-16 text"),
        (some_lines(9).decode().encode("utf-32"), "UTF-32 text"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)), "binary"),
        (b"SQLite format 3\0" + bytes(99), "binary"),
        (b"\xef\xbb\xbf [\n" + a_line() + b"\n]", "one JSON list"),
    ],
)
async def test_a_file_of_another_kind_is_told_what_to_do_about_it(text: bytes, words: str) -> None:
    error = await the_error(text)
    assert (error.code, error.line) == ("invalid_file", None)
    assert words in error.message


async def test_zero_bytes_in_a_line_are_told_by_its_number() -> None:
    error = await the_error(a_line("a") + b"\n" + a_line("b").replace(b"Hi.", b"H\0i") + b"\n")
    assert (error.line, error.code) == (2, "invalid_json_line")


async def test_a_file_that_is_not_what_was_uploaded_is_refused(tmp_path: Path) -> None:
    objects = objects_at(tmp_path)
    body = await stored(objects, some_lines(9))
    (tmp_path / "objects" / "input").write_bytes(some_lines(9).replace(b"Hi.", b"Ho."))
    found = await check(body, await lines_of(), objects, longest=MIB)
    assert isinstance(found, Refused)
    assert [error.code for error in found.errors] == ["file_damaged"]


async def test_a_file_that_has_gone_or_was_cut_short_is_refused(tmp_path: Path) -> None:
    objects = objects_at(tmp_path)
    gone = Body(size=9, digest="", blob="gone")
    short = msgspec.structs.replace(await stored(objects, some_lines(9)), size=10_000)
    for body in (gone, short):
        found = await check(body, await lines_of(), objects, longest=MIB)
        assert isinstance(found, Refused)
        assert [error.code for error in found.errors] == ["file_gone"]


async def test_an_object_store_that_is_out_of_reach_is_no_fault_of_the_file(tmp_path: Path) -> None:
    objects = objects_at(tmp_path)
    body = await stored(objects, some_lines(9))
    (tmp_path / "objects").rename(tmp_path / "away")
    with pytest.raises(StoreUnavailable):
        await check(body, await lines_of(), objects, longest=MIB)


async def test_more_queues_than_a_batch_may_have_are_refused_at_the_line_that_adds_one() -> None:
    text = b"".join(a_line(f"r{n}", body=a_call(f"made-{n}")) + b"\n" for n in range(MOST_QUEUES + 500))
    error = await the_error(text)
    assert (error.line, error.code) == (MOST_QUEUES + 1, "too_many_models")


async def test_others_have_their_turn_while_a_file_is_checked() -> None:
    turns = 0
    done = asyncio.Event()

    async def other() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            await asyncio.sleep(0)

    text = some_lines(2_000)
    async with asyncio.TaskGroup() as group:
        group.create_task(other())
        await check(inline(text), await lines_of(), None, longest=MIB)
        done.set()
    assert turns >= len(text) >> 15


async def test_one_long_line_is_understood_like_any_other() -> None:
    long = a_line("long", body=a_call(extra="x" * (MIB // 2)))
    assert await verdict(long + b"\n" + a_line("short")) == Checked(2, {"small": 2}, "small")


async def test_xais_form_is_checked_line_by_line_too() -> None:
    text = b"".join(msgspec.json.encode({"batch_request": {"chat_get_completion": a_call()}}) + b"\n" for _ in range(3))
    assert await verdict(text, endpoint=None, xai=True) == Checked(3, {"small": 3}, "small")


@pytest.mark.parametrize("lines", [1, 2, 3 * MOST_ERRORS])
async def test_a_file_for_another_endpoint_is_told_once_and_both_are_named(lines: int) -> None:
    [error] = await errors_of_endpoint(some_lines(lines), "/v1/embeddings")

    assert (error.code, error.line, error.param) == ("invalid_url", None, "endpoint")
    assert "'/v1/embeddings'" in error.message
    assert f"Line 1: `url` is {CHAT!r}" in error.message


async def test_one_line_for_another_endpoint_among_good_ones_is_named() -> None:
    [error] = await errors(some_lines(3) + a_line("x", url="/v1/embeddings"))

    assert (error.code, error.line, error.param) == ("invalid_url", 4, "url")
    assert "change this line" in error.message


async def errors_of_endpoint(text: bytes, endpoint: str) -> tuple[LineError, ...]:
    found = await verdict(text, endpoint=endpoint)
    assert isinstance(found, Refused)
    return found.errors
