"""Calls passed through while the client waits."""

from pathlib import Path

import pytest

from raincheck.core.errors import BadInput, ModelUnknown, UpstreamDown
from raincheck.dispatch.relay import Relay
from raincheck.upstream.protocol import Takes
from tests.dispatch.engine import Scripted, an_engine


async def test_the_answer_comes_through(tmp_path: Path) -> None:
    async with an_engine(tmp_path, [Scripted()]) as engine:
        relay = Relay(engine.catalogue, engine.capacity)
        async with relay.call(model="small", path="/chat/completions", payload=b"hello") as relayed:
            assert engine.capacity.in_use() == {"up": 1}
            assert b"".join([piece async for piece in relayed.body]) == b"hello"
        assert engine.capacity.in_use() == {"up": 0}


async def test_an_unknown_model_is_named_with_the_known_ones(tmp_path: Path) -> None:
    async with an_engine(tmp_path, [Scripted()]) as engine:
        with pytest.raises(ModelUnknown, match=r"'big'.*other, small"):
            async with Relay(engine.catalogue, engine.capacity).call(model="big", path="/x", payload=b""):
                pass


async def test_a_call_for_a_video_goes_to_an_upstream_that_makes_them(tmp_path: Path) -> None:
    texts, videos = Scripted("texts", takes=Takes.CALLS), Scripted("videos", takes=Takes.VIDEOS)
    async with an_engine(tmp_path, [texts, videos]) as engine:
        relay = Relay(engine.catalogue, engine.capacity)
        async with relay.call(model="small", path="/videos/generations", payload=b""):
            assert engine.capacity.in_use() == {"texts": 0, "videos": 1}
        async with relay.call(model="small", path="/chat/completions", payload=b""):
            assert engine.capacity.in_use() == {"texts": 1, "videos": 0}


async def test_another_upstream_takes_over(tmp_path: Path) -> None:
    dead, alive = Scripted("dead"), Scripted("alive")
    async with an_engine(tmp_path, [dead, alive]) as engine:
        dead.reachable = False
        async with Relay(engine.catalogue, engine.capacity).call(model="small", path="/x", payload=b"hi") as relayed:
            assert relayed.status == 200
        assert [member.down_since is None for member in engine.catalogue.members] == [False, True]


async def test_all_down_is_said_with_the_reason(tmp_path: Path) -> None:
    upstream = Scripted()
    async with an_engine(tmp_path, [upstream]) as engine:
        upstream.reachable = False
        relay = Relay(engine.catalogue, engine.capacity)
        with pytest.raises(UpstreamDown):
            async with relay.call(model="small", path="/x", payload=b"hi"):
                pass
        with pytest.raises(UpstreamDown, match="it does not answer") as caught:
            async with relay.call(model="small", path="/x", payload=b"hi"):
                pass
        assert caught.value.retry_after is not None
        assert engine.capacity.in_use() == {"up": 0}


async def test_a_member_that_takes_no_calls_here_does_not_hide_that_the_others_are_down(tmp_path: Path) -> None:
    elsewhere, dead = Scripted("elsewhere"), Scripted("dead")
    async with an_engine(tmp_path, [elsewhere, dead]) as engine:
        engine.catalogue.members[0].max_concurrency = 0
        engine.catalogue.mark_down(engine.catalogue.members[1], "it does not answer")
        with pytest.raises(UpstreamDown, match=r"dead: it does not answer"):
            async with Relay(engine.catalogue, engine.capacity).call(model="small", path="/x", payload=b""):
                pass


async def test_what_runs_in_workers_only_is_to_be_deferred(tmp_path: Path) -> None:
    async with an_engine(tmp_path, [Scripted()], places=0) as engine:
        with pytest.raises(BadInput, match="defer"):
            async with Relay(engine.catalogue, engine.capacity).call(model="small", path="/x", payload=b""):
                pass
