import json
from collections.abc import Iterator

import pytest
from openai import APIConnectionError, NotFoundError

from raincheck import AsyncRaincheck, Raincheck, RaincheckClientError
from raincheck.client import events
from raincheck.client.events import Listener
from tests.client.servers import VERSION, Answer, Asked, ScriptedServer, a_record


def told(kind: str, data: object, event_id: str | None = None) -> bytes:
    lines = [f"event: {kind}", f"data: {json.dumps(data, ensure_ascii=False)}"]
    return "\n".join([*lines, *([f"id: {event_id}"] if event_id else []), "", ""]).encode()


def piece(text: str, number: int) -> bytes:
    return told("delta", {"choices": [{"index": 0, "delta": {"content": text}}]}, f"1-{number}")


STORY = [
    told("status", a_record("pending")),
    b": keep-alive\n\n",
    told("status", a_record("processing")),
    piece("Hel", 0),
    told("progress", {"progress": 0.5, "progress_message": "half"}),
    piece("lo", 1),
    told("status", a_record("completed")),
]


def whole_story(_: Asked) -> Answer:
    return Answer(200, headers=VERSION, stream=STORY)


def broken_story(asked: Asked) -> Answer:
    """The connection is lost after the first piece; the second begins with the status once more."""
    if "last-event-id" not in asked.headers:
        return Answer(200, headers=VERSION, stream=STORY[:4])
    assert asked.headers["last-event-id"] == "1-0"
    return Answer(200, headers=VERSION, stream=[STORY[2], *STORY[4:]])


KINDS = ["status", "status", "delta", "progress", "delta", "status"]


def test_the_story_of_a_request_ends_with_its_end() -> None:
    with ScriptedServer(whole_story) as server, Raincheck(base_url=server.url) as client:
        heard = list(client.requests.events("req_1"))

    assert [event.type for event in heard] == KINDS
    assert "".join(event.text for event in heard) == "Hello"
    assert heard[3].data == {"progress": 0.5, "progress_message": "half"}
    assert heard[-1].request is not None
    assert heard[-1].request.status == "completed"
    assert heard[2].request is None


def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    pause = Listener.pause

    def shorter(self: Listener) -> float:
        return pause(self) / 100

    monkeypatch.setattr(Listener, "pause", shorter)


def test_a_lost_connection_is_taken_up_where_it_broke(monkeypatch: pytest.MonkeyPatch) -> None:
    quickly(monkeypatch)
    with ScriptedServer(broken_story) as server, Raincheck(base_url=server.url) as client:
        heard = list(client.requests.events("req_1"))

    assert [event.type for event in heard] == KINDS
    assert "".join(event.text for event in heard) == "Hello"
    assert len(server.asked) == 2


async def test_async_it_is_taken_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    quickly(monkeypatch)
    with ScriptedServer(broken_story) as server:
        async with AsyncRaincheck(base_url=server.url) as client:
            heard = [event async for event in client.requests.events("req_1")]

    assert [event.type for event in heard] == KINDS


def test_a_server_that_restarts_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    quickly(monkeypatch)
    troubles: Iterator[Answer] = iter(
        [Answer(503), Answer(hang_up=True), Answer(200, stream=[]), Answer(200, stream=STORY)]
    )
    with ScriptedServer(lambda _: next(troubles)) as server, Raincheck(base_url=server.url) as client:
        assert [event.type for event in client.requests.events("req_1")] == KINDS


def test_trouble_without_end_is_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    quickly(monkeypatch)
    monkeypatch.setattr(events, "TRIES", 3)
    for trouble, error in ((Answer(hang_up=True), APIConnectionError), (Answer(200, stream=[]), RaincheckClientError)):

        def same(_: Asked, trouble: Answer = trouble) -> Answer:
            return trouble

        with ScriptedServer(same) as server, Raincheck(base_url=server.url) as client, pytest.raises(error):
            list(client.requests.events("req_1"))


def test_an_unknown_request_is_not_asked_for_twice() -> None:
    missing = Answer(404, {"error": {"message": "no"}})
    with ScriptedServer(lambda _: missing) as server, Raincheck(base_url=server.url) as client:
        events_of_it = client.requests.events("req_1")
        with pytest.raises(NotFoundError):
            next(events_of_it)

    assert len(server.asked) == 1


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_events_are_the_same_however_the_bytes_arrive(size: int) -> None:
    """Raw line separators of Unicode are text, not ends of lines; CRLF is an end of line."""
    raw = b"".join(STORY[:-1]) + piece("a\u2028b\x85c é\u4e16", 2).replace(b"\n", b"\r\n") + STORY[-1]
    listener = Listener("req_1")

    heard = [event for at in range(0, len(raw), size) for event in listener.hear(raw[at : at + size])]

    assert "".join(event.text for event in heard) == "Helloa\u2028b\x85c é\u4e16"
    assert listener.done


def test_kinds_of_a_newer_server_are_passed_over() -> None:
    assert list(Listener("req_1").hear(told("weather", {"rain": True}) + b"data: {}\n\n")) == []


def test_another_attempt_is_told_though_the_status_is_the_same() -> None:
    listener = Listener("req_1")
    first, again, second = (told("status", a_record("processing", attempt=number)) for number in (1, 1, 2))

    heard = list(listener.hear(first + again + second))

    assert [event.data["attempt"] for event in heard] == [1, 2]


def test_an_answer_that_begins_anew_is_told_by_its_status_once() -> None:
    """Given back untried and claimed again: the status and the attempt stay, the fence in the ids does not."""
    processing = told("status", a_record("processing"))
    old, new = (told("delta", {"choices": []}, event_id) for event_id in ("5-1", "6-1"))
    while_connected, after_a_break, same_claim = Listener("req_1"), Listener("req_1"), Listener("req_1")

    heard = list(while_connected.hear(processing + old + processing + new))
    resumed = list(after_a_break.hear(processing + old))
    after_a_break.options()
    resumed += after_a_break.hear(processing + new)
    unbroken = list(same_claim.hear(processing + old + processing + old))

    assert [event.type for event in heard] == ["status", "delta", "status", "delta"]
    assert [event.type for event in resumed] == ["status", "delta", "status", "delta"]
    assert [event.type for event in unbroken] == ["status", "delta", "delta"]


def test_a_hole_in_the_answer_is_the_callers_to_see() -> None:
    [event] = Listener("req_1").hear(told("dropped", {"deltas": 3}))

    assert (event.type, event.data, event.text) == ("dropped", {"deltas": 3}, "")
