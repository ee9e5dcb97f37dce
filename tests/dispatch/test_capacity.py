"""Places at the upstreams."""

import asyncio

import pytest

from raincheck.core import adaptive
from raincheck.core.clock import now
from raincheck.dispatch.capacity import Capacity
from raincheck.upstream.catalogue import Catalogue, Member
from tests.dispatch.engine import Scripted


def a_capacity(**places: int) -> Capacity:
    members = [Member(Scripted(name), ["*"], limit) for name, limit in places.items()]
    return Capacity(Catalogue(members, now))


def test_all_places_are_handed_out_and_no_more() -> None:
    capacity = a_capacity(a=2, b=3)
    assert capacity.reserve(["small"]) == {("small", "a"): 2, ("small", "b"): 3}
    assert capacity.in_use() == {"a": 2, "b": 3}
    assert capacity.full()
    assert capacity.reserve(["small"]) == {}


def test_the_least_used_upstream_is_taken() -> None:
    capacity = a_capacity(a=2, b=8)
    taken = [capacity.take("small") for _ in range(5)]
    assert [permit.member.name for permit in taken if permit] == ["a", "b", "b", "b", "b"]


def test_an_upstream_that_is_down_has_no_places() -> None:
    members = [Member(Scripted("a"), ["*"], 2), Member(Scripted("b"), ["*"], 2)]
    catalogue = Catalogue(members, now)
    catalogue.mark_down(members[0], "gone")
    assert Capacity(catalogue).reserve(["small"]) == {("small", "b"): 2}


def test_places_are_shared_out_in_turns() -> None:
    reserved = a_capacity(a=5).reserve(["small", "other"])
    assert list(reserved.items()) == [(("small", "a"), 3), (("other", "a"), 2)]


def test_a_pair_that_is_held_back_gets_no_place() -> None:
    capacity = a_capacity(a=2, b=2)
    assert capacity.reserve(["small", "other"], but={("small", "a")}) == {
        ("small", "b"): 2,
        ("other", "a"): 2,
    }


def test_there_is_a_place_to_spare_only_where_one_could_be_reserved() -> None:
    capacity = a_capacity(a=1, b=1)
    assert capacity.spare(["small"])
    assert not capacity.spare([])
    assert capacity.reserve(["small"], but={("small", "b")}) == {("small", "a"): 1}
    assert not capacity.spare(["small"], but={("small", "b")})
    assert capacity.spare(["small", "other"], but={("small", "b")})


def test_an_adaptive_upstream_has_as_many_places_here_as_its_level_may_ever_have() -> None:
    """G7: the level itself is the store's to keep."""
    capacity = Capacity(Catalogue([Member(Scripted("a"), ["*"], "auto")], now))
    assert capacity.reserve(["small"]) == {("small", "a"): adaptive.CEILING}


def test_an_upstream_in_other_processes_has_no_places() -> None:
    capacity = a_capacity(a=0)
    assert capacity.take("small") is None
    assert capacity.full()


def test_what_was_reserved_and_not_needed_is_free_again() -> None:
    capacity = a_capacity(a=3)
    capacity.reserve(["small"])
    capacity.give_back_unused("a", 2)
    assert capacity.in_use() == {"a": 1}
    capacity.give_back(capacity.permit("a"))
    assert capacity.in_use() == {"a": 0}


async def test_a_caller_who_waits_goes_before_deferred_work() -> None:
    capacity = a_capacity(a=1)
    freed: list[bool] = []
    capacity.on_free = lambda: freed.append(capacity.take("small") is not None)
    permit = capacity.take("small")
    assert permit is not None
    caller = asyncio.create_task(capacity.wait("small", 10))
    await asyncio.sleep(0)
    capacity.give_back(permit)
    assert (await caller).member.name == "a"
    assert freed == [False]


async def test_a_caller_gives_up_after_its_time_and_leaves_nothing_behind() -> None:
    capacity = a_capacity(a=1)
    permit = capacity.take("small")
    assert permit is not None
    with pytest.raises(TimeoutError):
        await capacity.wait("small", 0.01)
    capacity.give_back(permit)
    assert capacity.in_use() == {"a": 0}


async def test_a_caller_cancelled_at_the_moment_it_is_served_gives_the_place_back() -> None:
    capacity = a_capacity(a=1)
    permit = capacity.take("small")
    assert permit is not None
    caller = asyncio.create_task(capacity.wait("small", 10))
    await asyncio.sleep(0)
    capacity.give_back(permit)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert capacity.in_use() == {"a": 0}
