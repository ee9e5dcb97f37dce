"""What one client is told of the attempts at a response, whatever comes."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raincheck.http.responses.numbering import STRIDE, TERMINAL, Gap, Teller
from tests.http.responses import life_of


def parsed(sent: bytes) -> dict[str, Any]:
    _, data, *blank = sent.decode().split("\n")
    assert blank == ["", ""]
    return msgspec.json.decode(data.removeprefix("data: "))


def encoded(events: list[dict[str, Any]]) -> list[bytes]:
    return [msgspec.json.encode(event) for event in events]


LIVES = [encoded(life_of(text, item_id=f"msg_{text}")) for text in ("a b c", "d e", "f g h i")]
TALKED = st.lists(st.integers(0, 9), max_size=2)
"""How many events a client saw of each attempt that came to nothing."""


@settings(max_examples=40)
@given(talked=TALKED, leaves=st.lists(st.integers(0, 14), max_size=4))
def test_what_a_client_gathers_is_of_one_attempt_and_every_number_is_new(talked: list[int], leaves: list[int]) -> None:
    """It may leave at any event of the last attempt and come back with the number it saw last."""
    told = list[dict[str, Any]]()
    teller = Teller(None)
    for attempt, count in enumerate(talked):
        for data in LIVES[attempt][:count] if teller.can_follow(attempt * STRIDE) else ():
            if (sent := teller.tell(data, attempt * STRIDE)) is not None:
                told.append(parsed(sent))
    base, last = len(talked) * STRIDE, LIVES[len(talked)]
    for leave in [*leaves, len(last)]:
        pieces = list[bytes]()
        for data in last:
            if teller.can_follow(base):
                sent = teller.tell(data, base, whole=True)
                pieces += [] if sent is None else [sent]
            else:
                pieces += teller.last_word(data, base)
        told += [parsed(piece) for piece in pieces[:leave]]
        teller = Teller(told[-1]["sequence_number"] if told else None)

    numbers = [event["sequence_number"] for event in told]
    assert numbers == sorted(set(numbers))
    assert told[-1]["type"] == "response.completed"
    assert told[-1]["response"]["output"] == msgspec.json.decode(last[-1])["response"]["output"]
    deltas = [event["delta"] for event in told if event["type"] == "response.output_text.delta"]
    assert len({event["item_id"] for event in told if "item_id" in event}) <= 1
    assert all(delta in "abcdefghi" for delta in deltas)
    assert sum(event["type"] in TERMINAL for event in told) == 1


def test_an_event_that_comes_too_early_is_a_gap() -> None:
    teller = Teller(None)
    with pytest.raises(Gap):
        teller.tell(LIVES[0][1], 0)
    with pytest.raises(Gap):
        Teller(2).tell(LIVES[0][4], 0)


@pytest.mark.parametrize(
    "data", [b"{", b"[]", b'{"choices":[]}', b'{"type":"response.created"}', b'{"type":1,"sequence_number":0}']
)
def test_what_is_no_event_is_not_told(data: bytes) -> None:
    assert Teller(None).tell(data, 0) is None


def test_a_newline_does_not_end_an_event() -> None:
    sent = Teller(None).tell(b'{"type": "response.created",\n"sequence_number": 0}', 0)

    assert sent == b'event: response.created\ndata: {"type": "response.created", "sequence_number": 0}\n\n'
