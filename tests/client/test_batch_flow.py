"""Following a batch with no network and no clock; and what is drawn of it meanwhile."""

import io
import json
from collections.abc import Iterable
from typing import Any

import httpx2
import pytest
from openai import APIConnectionError, APIError
from rich.console import Console

from raincheck import BatchFailed
from raincheck.client.batches.bar import Pace, length, short, watching, words
from raincheck.client.batches.flow import Following, Page, wait
from raincheck.client.batches.models import Batch, BatchResult
from raincheck.client.errors import UnexpectedAnswer
from raincheck.client.steps import Call, Flow, Pause, Reply

LOST = Reply(0, error=APIConnectionError(request=httpx2.Request("GET", "http://h")), lost=True)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def a_batch(status: str = "in_progress", **fields: Any) -> dict[str, Any]:
    counts = {"total": 10, "completed": 0, "failed": 0, "cancelled": 0, "expired": 0} | fields.pop("counts", {})
    return {"id": "batch_1", "status": status, "endpoint": "/v1/embeddings", "request_counts": counts, **fields}


def a_page(*ended: int, status: str = "in_progress", has_more: bool = False, **fields: Any) -> Reply:
    response: dict[str, Any] = {"status_code": 200, "request_id": "r", "body": {"object": "list", "data": []}}
    data = [
        {"id": "x", "custom_id": f"c{n}", "line": n, "ended": n, "response": response, "error": None} for n in ended
    ]
    last = max(ended, default=0)
    page = {"object": "list", "data": data, "last": last, "has_more": has_more, "batch": a_batch(status, **fields)}
    return Reply(200, body=json.dumps(page).encode())


def driven(flow: Flow[Any], replies: Iterable[Reply], clock: Clock, took: float = 0.0) -> tuple[Any, list[float]]:
    """The end of a flow, and its pauses."""
    answers, pauses, reply = iter(replies), list[float](), None
    try:
        while True:
            match flow.send(reply):
                case Pause(seconds):
                    pauses.append(round(seconds, 3))
                    clock.now += seconds
                    reply = None
                case Call():
                    clock.now += took
                    reply = next(answers)
                case _:
                    raise AssertionError
    except StopIteration as end:
        return end.value, pauses


def a_following(clock: Clock) -> Following:
    return Following(Batch.construct(**a_batch()), clock=clock, jitter=lambda: 1.0)


def looks(clock: Clock, *replies: Reply, took: float = 0.0) -> tuple[list[Page], list[float]]:
    following, pages, pauses = a_following(clock), list[Page](), list[float]()
    for reply in replies:
        page, rested = driven(following.look(0), [reply], clock, took)
        pages.append(page)
        pauses += rested
    return pages, pauses


def test_looks_are_close_while_there_is_news_and_far_apart_when_there_is_none() -> None:
    _, pauses = looks(Clock(), a_page(1), *[a_page()] * 10, a_page(2), a_page())
    assert pauses[:3] == [0.2, 0.3, 0.45]
    assert pauses[9:] == [5.0, 5.0, 0.2]


def test_a_server_that_holds_a_look_is_asked_again_at_once() -> None:
    assert looks(Clock(), a_page(), a_page(), a_page(), took=2.0)[1] == []


def test_a_page_with_more_behind_it_is_followed_at_once() -> None:
    pages, pauses = looks(Clock(), a_page(1, has_more=True), a_page(2, status="completed"))
    assert (pauses, [page.final for page in pages]) == ([], [False, True])


def test_an_ended_batch_with_more_results_is_not_at_its_end() -> None:
    [page], _ = looks(Clock(), a_page(1, status="completed", has_more=True))
    assert (page.final, page.last, page.results[0].custom_id) == (False, 1, "c1")


def test_restarts_are_waited_out_and_a_server_that_stays_away_is_told() -> None:
    clock = Clock()
    pages, pauses = looks(clock, LOST, LOST, a_page(1))
    assert [len(page.results) for page in pages] == [0, 0, 1]
    assert pauses == [0.4, 0.8]
    with pytest.raises(APIError):
        looks(clock, *[LOST] * 200)


def test_an_answer_that_is_none_is_told() -> None:
    with pytest.raises(UnexpectedAnswer, match="Is this a Raincheck server"):
        looks(Clock(), Reply(200, body=b'{"object": "list"}'))


def test_refused_lines_are_told_the_first_three_in_the_message() -> None:
    errors = {"object": "list", "data": [{"line": n, "message": f"wrong {n}", "code": "x"} for n in range(1, 6)]}
    with pytest.raises(BatchFailed, match="line 1: wrong 1; line 2: wrong 2; line 3: wrong 3; and 2 more") as failed:
        looks(Clock(), a_page(status="failed", errors=errors))
    assert len(failed.value.errors) == 5


def test_a_wait_looks_seldom_and_not_beyond_its_time() -> None:
    clock = Clock()
    replies = [Reply(200, body=json.dumps(a_batch()).encode())] * 20
    ended = Reply(200, body=json.dumps(a_batch("completed")).encode())
    steps = wait(Batch.construct(**a_batch()), timeout=None, polling_interval=5.0, observer=None, clock=clock)
    batch, pauses = driven(steps, [*replies, LOST, ended], clock)
    assert (batch.status, max(pauses)) == ("completed", 5.0)


def test_results_know_their_text_and_their_line_in_a_file() -> None:
    answer = {"object": "response", "output": [{"type": "message", "content": [{"type": "output_text", "text": "hi"}]}]}
    result = BatchResult(custom_id="c", id="i", status_code=200, request_id="r", body=answer)
    response = {"status_code": 200, "request_id": "r", "body": answer}
    assert result.to_dict() == {"id": "i", "custom_id": "c", "response": response, "error": None}
    assert BatchResult(custom_id="c", body={"choices": [{"text": "old"}]}).text == "old"
    assert BatchResult(custom_id="c", body=[1]).text is None


def test_the_bar_tells_what_is_done_what_failed_and_how_long_it_takes() -> None:
    usage = {"total_tokens": 1_234_567}
    extras = {"cost_in_usd_ticks": 12_300_000_000}
    batch = Batch.construct(**a_batch(counts={"total": 10_000, "completed": 1_197, "failed": 3}, usage=usage))
    assert words(batch, 50.0) == "1,200/10,000 · 3 failed · 50/s · 3 min left · 1.2M tokens"
    ended = Batch.construct(**a_batch("completed", counts={"total": 2, "completed": 2}, raincheck=extras))
    assert words(ended, 50.0) == "completed · 2/2 · $1.23"
    assert words(Batch.construct(**a_batch("validating", counts={"total": 0})), 0.0) == "validating"


def test_the_rate_is_that_of_the_last_half_minute() -> None:
    clock = Clock()
    pace = Pace(clock)
    for second, ended in ((0, 0), (10, 1_000), (80, 1_000), (110, 1_060)):
        clock.now = float(second)
        pace.note(ended)
    assert pace.rate == 2.0
    assert Pace(clock).rate == 0.0


def test_lengths_and_numbers_are_short() -> None:
    assert [length(seconds) for seconds in (5, 120, 9_000, 400_000)] == ["5 s", "2 min", "2.5 h", "5 days"]
    assert [short(number) for number in (950, 1_200, 3_400_000, 2e9)] == ["950", "1.2k", "3.4M", "2.0G"]


def test_the_bar_names_the_batch_above_it_and_is_silent_in_a_log_file() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with watching(Batch.construct(**a_batch()), progress=True, console=console) as observer:
        assert observer is not None
        observer(Batch.construct(**a_batch("completed", counts={"completed": 10})))
    assert isinstance(console.file, io.StringIO)
    assert "batch_1" in console.file.getvalue()
    assert "10/10" in console.file.getvalue()
    log = Console(file=io.StringIO(), force_terminal=False)
    with watching(Batch.construct(**a_batch()), progress=True, console=log) as observer:
        assert observer is None


def test_on_a_narrow_terminal_only_the_words_are_cut() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, color_system=None)
    counts = {"total": 1_000_000, "completed": 400_000, "failed": 12_345, "cancelled": 6_789}
    batch = Batch.construct(**a_batch(counts=counts))
    with watching(batch, progress=True, console=console):
        pass
    drawn = next(line for line in out.getvalue().splitlines() if "%" in line)
    assert " 42% 0:00:00 419,134/1,000,000" in drawn
    assert "…" in drawn
