"""What is happening right now, and who waits for it."""

from raincheck.core.model import Fence
from raincheck.live import MAX_DELTA_BYTES, Live

MINE, OTHER = Fence("req_1", 2), Fence("req_1", 1)


async def test_news_after_the_watch_was_opened_is_not_missed() -> None:
    live = Live()
    with live.watch("req_1") as watch:
        live.wake("req_1")
        assert await watch.news(0)
        assert not await watch.news(0)


async def test_news_of_another_request_wakes_nobody() -> None:
    live = Live()
    with live.watch("req_1") as watch:
        live.wake("req_2")
        assert not await watch.news(0)


async def test_what_an_attempt_says_wakes_only_those_who_follow_it() -> None:
    live = Live()
    live.begin(MINE, 1)
    with live.watch("req_1") as watch, live.follow("req_1") as follower:
        live.progress(MINE, 0.5, None)
        live.delta(MINE, b"{}")
        assert await follower.news(0)
        assert not await watch.news(0)
        live.wake("req_1")
        assert await follower.news(0)
        assert await watch.news(0)


def test_an_older_claim_cannot_speak_for_a_newer_one() -> None:
    live = Live()
    live.begin(MINE, 2)
    live.progress(OTHER, 0.9, "old")
    live.delta(OTHER, b"old")
    live.end(OTHER)
    notes = live.notes("req_1")
    assert notes is not None
    assert (notes.progress, list(notes.deltas)) == (None, [])
    live.end(MINE)
    assert live.notes("req_1") is None


def test_pieces_of_an_answer_are_bounded() -> None:
    """G12."""
    live = Live()
    live.begin(MINE, 1)
    for _ in range(40):
        live.delta(MINE, b"x" * (MAX_DELTA_BYTES // 10))
    notes = live.notes("req_1")
    assert notes is not None
    assert sum(map(len, notes.deltas)) <= MAX_DELTA_BYTES
    assert (notes.first, notes.last) == (31, 40)


async def test_closing_wakes_everyone() -> None:
    live = Live()
    with live.watch("req_1") as watch, live.follow("req_2") as follower:
        live.close()
        assert live.closed
        assert await watch.news(0)
        assert await follower.news(0)


async def test_a_follower_can_tell_a_move_from_a_piece() -> None:
    live = Live()
    live.begin(MINE, 1)
    with live.follow("req_1") as follower:
        assert follower.moved
        follower.moved = False
        live.delta(MINE, b"{}")
        assert not follower.moved
        live.wake("req_1")
        assert follower.moved
