"""Places at the upstreams."""

import asyncio

import pytest

from raincheck.core.clock import now
from raincheck.dispatch.capacity import Capacity
from raincheck.upstream.catalogue import Catalogue, Member
from tests.dispatch.engine import Scripted


def a_capacity(**places: int) -> Capacity:
    members = [Member(Scripted(name), ["*"], limit) for name, limit in places.items()]
    return Capacity(Catalogue(members, now))


def test_all_places_are_handed_out_and_no_more() -> None:
    capacity = a_capacity(a=2, b=3)
    assert len(capacity.reserve(["small"])["small"]) == 5
    assert capacity.in_use() == {"a": 2, "b": 3}
    assert capacity.reserve(["small"]) == {}


def test_the_least_used_upstream_is_taken() -> None:
    capacity = a_capacity(a=2, b=8)
    taken = [capacity.take("small") for _ in range(5)]
    assert [permit.member.name for permit in taken if permit] == ["a", "b", "b", "b", "b"]


def test_an_upstream_that_is_down_has_no_places() -> None:
    members = [Member(Scripted("a"), ["*"], 2), Member(Scripted("b"), ["*"], 2)]
    catalogue = Catalogue(members, now)
    catalogue.mark_down(members[0], "gone")
    assert {permit.member.name for permit in Capacity(catalogue).reserve(["small"])["small"]} == {"b"}


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
