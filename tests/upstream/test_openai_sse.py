"""Server-sent events from bytes cut anywhere."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raincheck.upstream.openai.sse import Event, EventReader, EventTooLarge


def read(*pieces: bytes) -> list[Event]:
    reader = EventReader(1 << 20)
    events = [event for piece in pieces for event in reader.feed(piece)]
    return events + reader.end()


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end_of_the_standard_ends_a_line(end: bytes) -> None:
    assert read(b'data: {"a":1}' + end * 2 + b"data: [DONE]" + end * 2) == [Event(b'{"a":1}'), Event(b"[DONE]")]


def test_data_lines_of_one_event_are_joined_by_newlines() -> None:
    assert read(b"data: one\ndata:two\n\n") == [Event(b"one\ntwo")]


def test_comments_ids_and_events_without_data_are_passed_over() -> None:
    assert read(b": keep-alive\n\nid: 7\nretry: 5\n\nevent: ping\n\ndata: x\n\n") == [Event(b"x")]


def test_an_event_has_the_name_it_was_given_and_the_next_one_has_not() -> None:
    assert read(b"event: error\ndata: x\n\ndata: y\n\n") == [Event(b"x", "error"), Event(b"y")]


def test_an_error_field_is_an_error_event() -> None:
    assert read(b'error: {"code":500}\n\n') == [Event(b'{"code":500}', "error")]


def test_the_last_event_may_lack_its_blank_line_but_a_torn_line_is_no_event() -> None:
    assert read(b"data: [DONE]\n") == [Event(b"[DONE]")]
    assert read(b"data: [DO") == []


def test_an_endless_line_is_refused() -> None:
    """G12: memory is bounded."""
    reader = EventReader(100)
    for _ in range(10):
        reader.feed(b"data: xxxx")
    with pytest.raises(EventTooLarge):
        reader.feed(b"x")


def test_many_small_events_are_not_one_large_one() -> None:
    reader = EventReader(100)
    assert sum(len(reader.feed(b"data: x\n\n")) for _ in range(100)) == 100


STREAM = (
    'data: {"text":"héllo 🌧"}\n\n: comment\r\n\r\nevent: error\rdata: a\rdata: b\r\rdata: c\r\n\r\n'
    'error: {"x":1}\n\nid: 4\ndata:\n\ndata: [DONE]\n'
).encode()


@given(st.sets(st.integers(0, len(STREAM)), max_size=20))
def test_any_split_of_the_bytes_gives_the_same_events(cuts: set[int]) -> None:
    pieces = [STREAM[start:end] for start, end in pairwise([0, *sorted(cuts), len(STREAM)])]
    assert read(*pieces) == read(STREAM)
