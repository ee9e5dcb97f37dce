"""Which upstream serves which model, and which are up."""

import pytest

from raincheck.core.clock import SECOND
from raincheck.core.errors import ModelUnknown
from raincheck.upstream.catalogue import PROBE_EVERY, Catalogue, Member
from raincheck.upstream.local.upstream import LocalUpstream
from tests.dispatch.engine import Scripted


class Clock:
    moment = 1_000 * SECOND

    def __call__(self) -> int:
        return self.moment


async def test_models_are_what_the_upstreams_list() -> None:
    catalogue = Catalogue([Member(Scripted("a")), Member(Scripted("b"), ["small"])], Clock())
    await catalogue.refresh()
    assert catalogue.models() == {"other": ["a"], "small": ["a", "b"]}
    assert [member.name for member in catalogue.serving("small")] == ["a", "b"]
    with pytest.raises(ModelUnknown, match="Known models: other, small"):
        catalogue.require("big", "chat.completion")


def test_patterns_match_names_that_are_not_listed() -> None:
    catalogue = Catalogue([Member(Scripted("a"), ["qwen3-*"])], Clock())
    catalogue.require("qwen3-8b", "chat.completion")
    with pytest.raises(ModelUnknown, match="Known models: none"):
        catalogue.require("llama", "chat.completion")


def test_an_upstream_that_never_answered_may_serve_anything() -> None:
    Catalogue([Member(Scripted("a"))], Clock()).require("whatever", "chat.completion")


def test_where_nobody_makes_videos_the_extra_that_would_is_named() -> None:
    with pytest.raises(ModelUnknown, match=r"No upstream here makes videos.*raincheck\[preview\]"):
        Catalogue([Member(LocalUpstream())], Clock()).require("preview", "video.generation")


async def test_a_down_upstream_is_probed_ever_more_rarely_until_it_is_back() -> None:
    clock, upstream = Clock(), Scripted(reachable=False)
    catalogue = Catalogue([member := Member(upstream)], clock)
    waits: list[int] = []
    for _ in range(8):
        await catalogue.refresh()
        waits.append(member.probe_at - clock.moment)
        clock.moment = member.probe_at
    assert waits[:3] == [SECOND // 2, SECOND, 2 * SECOND]
    assert max(waits) == PROBE_EVERY
    assert catalogue.down("small") is member
    upstream.reachable = True
    await catalogue.refresh()
    assert catalogue.down("small") is None
    assert member.down_since is None


async def test_a_model_is_down_only_when_all_that_serve_it_are() -> None:
    clock = Clock()
    catalogue = Catalogue([first := Member(Scripted("a")), second := Member(Scripted("b"))], clock)
    await catalogue.refresh()
    catalogue.mark_down(first, "gone")
    assert catalogue.down("small") is None
    clock.moment += SECOND
    catalogue.mark_down(second, "gone too")
    assert catalogue.down("small") is first


async def test_a_storm_of_failed_calls_counts_once() -> None:
    clock = Clock()
    catalogue = Catalogue([member := Member(Scripted("a"))], clock)
    told: list[bool] = []
    catalogue.on_health = lambda member: told.append(member.down_since is None)
    await catalogue.refresh()
    for _ in range(32):
        catalogue.mark_down(member, "gone")
    assert member.probe_at == clock.moment + SECOND // 2
    clock.moment = member.probe_at
    await catalogue.refresh()
    assert told == [False, True]


async def test_an_adapter_that_breaks_is_a_miss_and_no_crash() -> None:
    class Broken(Scripted):
        async def probe(self) -> frozenset[str]:
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")

    catalogue = Catalogue([member := Member(Broken())], Clock())
    await catalogue.refresh()
    assert "UnicodeDecodeError" in (member.down_reason or "")
