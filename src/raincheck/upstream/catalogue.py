"""Which upstream serves which model, and which of them are up: read by intake (is this model known?) and dispatch."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from raincheck.core import adaptive
from raincheck.core.clock import SECOND, Clock
from raincheck.core.errors import ModelUnknown, UpstreamDown
from raincheck.core.operations import is_video, model_of, queue_of
from raincheck.upstream.protocol import Takes, Upstream

PROBE_EVERY = 15 * SECOND
PROBE_DOWN_FIRST = SECOND // 2
"""How soon a down upstream is probed again at first; doubles up to PROBE_EVERY."""


@dataclass(slots=True, eq=False)
class Member:
    """One upstream as the catalogue knows it."""

    upstream: Upstream
    globs: Sequence[str] = ()
    """Names it serves by configuration, as patterns; with none, whatever it lists."""
    max_concurrency: int | Literal["auto"] = 32
    """How many calls it gets at once; "auto": what the store finds that it bears. 0: it runs in other processes."""
    listed: frozenset[str] | None = None
    """What it listed when last probed; None before it ever answered."""
    down_since: int | None = None
    down_reason: str | None = None
    probe_at: int = 0
    misses: int = 0

    @property
    def name(self) -> str:
        return self.upstream.name

    @property
    def places(self) -> int:
        """How many calls it gets at once from this process."""
        return adaptive.CEILING if self.max_concurrency == "auto" else self.max_concurrency

    def serves(self, model: str) -> bool:
        """True when it serves the model, or may: one that names no models, here or in its list, may serve any."""
        if self.globs:
            return any(fnmatchcase(model, glob) for glob in self.globs)
        return not self.listed or model in self.listed

    def works_on(self, queue: str) -> bool:
        """True when it serves the model of a queue and is for that kind of work."""
        model, videos = model_of(queue)
        wanted = Takes.VIDEOS if videos else Takes.CALLS
        return wanted in self.upstream.takes and self.serves(model)

    def models(self) -> set[str]:
        """The models to show: what it listed and serves, and configured names that are no patterns."""
        named = {glob for glob in self.globs if not is_pattern(glob)}
        return named | {model for model in self.listed or () if self.serves(model)}


def is_pattern(glob: str) -> bool:
    """Whether it may stand for several names."""
    return any(mark in glob for mark in "*?[")


class Catalogue:
    """All upstreams with their models and their health."""

    def __init__(self, members: Iterable[Member], clock: Clock) -> None:
        self.members = list(members)
        self.on_health: Callable[[Member], None] = lambda _: None
        """Called when an upstream went down or came back."""
        self._clock = clock

    def models(self) -> dict[str, list[str]]:
        """Every known model with the names of the upstreams that serve it."""
        known: dict[str, list[str]] = {}
        for member in self.members:
            for model in sorted(member.models()):
                known.setdefault(model, []).append(member.name)
        return known

    def serving(self, queue: str) -> list[Member]:
        """The upstreams that do what waits in a queue, up or down, in the order of the configuration."""
        return [member for member in self.members if member.works_on(queue)]

    def require(self, model: str, operation: str) -> None:
        """Raise ModelUnknown, naming the known ones, when no upstream does this with the model."""
        if self.serving(queue_of(model, operation)):
            return
        known = self.models_for(operation)
        if is_video(operation) and not any(Takes.VIDEOS in member.upstream.takes for member in self.members):
            raise ModelUnknown(
                "No upstream here makes videos. The built-in preview renderer is an [[upstream]] of kind preview in "
                "raincheck.toml, and needs the extra raincheck[preview]; a model of your own is one of kind videos, "
                "xai or python.",
                param="model",
            )
        listed = ", ".join(known[:20]) + (", …" if len(known) > 20 else "") if known else "none"
        what = "makes videos with" if is_video(operation) else "serves"
        raise ModelUnknown(f"No upstream {what} the model {model!r}. Known models: {listed}.", param="model")

    def models_for(self, operation: str) -> list[str]:
        """The models to name for this kind of work, by name."""
        wanted = Takes.VIDEOS if is_video(operation) else Takes.CALLS
        return sorted(
            {model for member in self.members if wanted in member.upstream.takes for model in member.models()}
        )

    def down(self, queue: str) -> Member | None:
        """The upstream that has been down longest, when all that do what waits in a queue are down."""
        members = self.serving(queue)
        if not members or any(member.down_since is None for member in members):
            return None
        return min(members, key=lambda member: member.down_since or 0)

    def mark_down(self, member: Member, reason: str) -> None:
        """Note that an upstream could not be reached; it is probed until it answers again.

        However many calls fail at once, the first probe comes soon: only failed probes make the next one rarer.
        """
        member.down_reason = reason
        if member.down_since is None:
            member.down_since = self._clock()
            member.misses = 0
            member.probe_at = member.down_since + PROBE_DOWN_FIRST
            self.on_health(member)

    def mark_up(self, member: Member) -> None:
        """Note that an upstream answered."""
        if member.down_since is not None:
            member.down_since = member.down_reason = None
            self.on_health(member)

    async def refresh(self) -> None:
        """Probe every upstream whose time has come."""
        now = self._clock()
        await asyncio.gather(*(self._probe(member) for member in self.members if member.probe_at <= now))

    async def _probe(self, member: Member) -> None:
        try:
            member.listed = await member.upstream.probe()
        except UpstreamDown as error:
            self._missed(member, error.message)
        except Exception as error:  # noqa: BLE001 - whatever an upstream makes its adapter trip over is its own fault
            self._missed(member, f"its adapter broke: {type(error).__name__}: {error}")
        else:
            self.mark_up(member)
            member.probe_at = self._clock() + PROBE_EVERY

    def _missed(self, member: Member, reason: str) -> None:
        self.mark_down(member, reason)
        member.probe_at = self._clock() + min(PROBE_DOWN_FIRST << member.misses, PROBE_EVERY)
        member.misses = min(member.misses + 1, 10)
