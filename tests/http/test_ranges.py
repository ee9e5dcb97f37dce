"""Which bytes a GET asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raincheck.core.errors import RangeUnsatisfiable
from raincheck.http.ranges import Span, has_it, meant, span_of

TAG = '"abc"'


@pytest.mark.parametrize(
    ("asked", "span"),
    [
        (b"bytes=0-0", (0, 1)),
        (b"bytes=0-", (0, 10)),
        (b"bytes=3-5", (3, 6)),
        (b"BYTES = 3 - 5", (3, 6)),
        (b"bytes=3-999", (3, 10)),
        (b"bytes=9-9", (9, 10)),
        (b"bytes=-1", (9, 10)),
        (b"bytes=-999", (0, 10)),
    ],
)
def test_one_range(asked: bytes, span: tuple[int, int]) -> None:
    assert span_of({b"range": asked}, 10, TAG) == span


@pytest.mark.parametrize(
    "asked",
    [
        b"",
        b"bytes=",
        b"bytes=-",
        b"bytes=5-3",
        b"bytes=a-b",
        b"lines=0-1",
        b"bytes=0-1,3-4",
        b"bytes=\xb2-\xb3",
        b"0-1",
    ],
)
def test_what_makes_no_sense_or_asks_for_several_gets_the_whole(asked: bytes) -> None:
    assert span_of({b"range": asked}, 10, TAG) is None


@pytest.mark.parametrize("asked", [b"bytes=10-", b"bytes=10-20", b"bytes=-0", b"bytes=99999999999999999999-"])
def test_bytes_that_are_not_there_are_refused(asked: bytes) -> None:
    with pytest.raises(RangeUnsatisfiable, match="10 bytes"):
        span_of({b"range": asked}, 10, TAG)


def test_an_empty_body_has_no_bytes_to_ask_for() -> None:
    with pytest.raises(RangeUnsatisfiable):
        span_of({b"range": b"bytes=0-"}, 0, TAG)


def test_a_part_of_a_body_that_is_another_by_now_is_no_use() -> None:
    part = {b"range": b"bytes=0-1"}

    assert span_of(part | {b"if-range": b'"abc"'}, 10, TAG) == (0, 2)
    for other in (b'"abd"', b'W/"abc"', b"Wed, 21 Oct 2026 07:28:00 GMT"):
        assert span_of(part | {b"if-range": other}, 10, TAG) is None


@pytest.mark.parametrize(
    ("known", "has"),
    [
        (b'"abc"', True),
        (b'W/"abc"', True),
        (b'"x", "abc" ,"y"', True),
        (b"*", True),
        (b'"abd"', False),
        (b"abc", False),
        (b"", False),
        (b'"xabc"', False),
    ],
)
def test_what_the_client_has_already(known: bytes, has: bool) -> None:
    assert has_it({b"if-none-match": known}, TAG) is has


def test_without_the_header_it_has_nothing() -> None:
    assert not has_it({}, TAG)


@pytest.mark.parametrize(
    ("said", "means"),
    [
        (b'"abc"', True),
        (b'"x", "abc"', True),
        (b"*", True),
        (b'W/"abc"', False),
        (b'"abd"', False),
        (b"abc", False),
        (b"", False),
    ],
)
def test_the_body_that_the_client_means(said: bytes, means: bool) -> None:
    assert meant({b"if-match": said}, TAG) is means
    assert meant({}, TAG)


@given(st.integers(1, 50), st.integers(0, 60), st.integers(0, 60))
def test_a_range_is_the_slice_that_python_takes(size: int, first: int, last: int) -> None:
    body = bytes(range(size))
    try:
        span = span_of({b"range": b"bytes=%d-%d" % (first, last)}, size, TAG)
    except RangeUnsatisfiable:
        assert body[first : last + 1] == b""
    else:
        assert (span is None) == (last < first)
        if span is not None:
            assert body[span.start : span.end] == body[first : last + 1] != b""
            assert Span(*span).told(size) == f"bytes {first}-{min(last, size - 1)}/{size}"
