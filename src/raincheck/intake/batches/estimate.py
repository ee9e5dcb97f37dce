"""Takes how much a batch would ask of which models, hands on how long that may take, and how that is known."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from raincheck.core import adaptive
from raincheck.core.batches import Pace
from raincheck.core.clock import MINUTE
from raincheck.core.errors import BadInput
from raincheck.core.model import Limits, Throttle
from raincheck.core.operations import operation_of, queue_of
from raincheck.intake.admit import check_model
from raincheck.intake.batches.calls import path_of
from raincheck.store.protocol import Batches, Registry
from raincheck.upstream.catalogue import Catalogue

MOST = 1_000
"""Lines of one estimate."""
MOST_COUNTED = 10**15

Basis = Literal["measured", "limits", "unknown"]


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of one kind for one model."""

    model: str
    endpoint: str = "/v1/chat/completions"
    requests: int
    tokens: int | None = None
    """What all of them will use; None when nobody has counted."""


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """How long one model would take for what is asked of it and what waits already."""

    model: str
    requests: int
    tokens: int | None
    waiting: int
    """Requests that are in its queue already."""
    us: float | None
    """Microseconds; None when there is nothing to go by."""
    basis: Basis
    """What that is known from: how fast it was of late, or how fast limits let it be when that is slower."""


async def estimate(
    demands: Sequence[Demand], *, batches: Batches, registry: Registry, catalogue: Catalogue
) -> list[Outlook]:
    """One outlook per queue, in the order in which they were named. Raises BadInput, ModelUnknown."""
    asked = _by_queue(demands, catalogue)
    paces = {pace.queue: pace for pace in await batches.paces(list(asked))}
    queues = {each.name: each for each in await registry.throttles("queue")}
    upstreams = {each.name: each for each in await registry.throttles("upstream")}
    return [
        _outlook(
            demand,
            paces.get(queue),
            _at_once(queue, queues, upstreams, catalogue),
            _slowest(queue, queues, upstreams, catalogue),
        )
        for queue, demand in asked.items()
    ]


def total(outlooks: Sequence[Outlook]) -> float | None:
    """Microseconds for all of it: models do not wait for each other. None when one of them is unknown."""
    lengths = [each.us for each in outlooks if each.us is not None]
    return max(lengths) if lengths and len(lengths) == len(outlooks) else None


def _by_queue(demands: Sequence[Demand], catalogue: Catalogue) -> dict[str, Demand]:
    if not 1 <= len(demands) <= MOST:
        raise BadInput(f"`lines` must have from 1 to {MOST} entries, one per model and endpoint.", param="lines")
    asked = dict[str, Demand]()
    for number, demand in enumerate(demands):
        where = f"lines[{number}]"
        if not 0 <= demand.requests <= MOST_COUNTED or not 0 <= (demand.tokens or 0) <= MOST_COUNTED:
            raise BadInput(f"{where}: requests and tokens must be numbers of 0 or more.", param=where)
        check_model(demand.model)
        operation = operation_of(path_of(demand.endpoint))
        catalogue.require(demand.model, operation)
        queue = queue_of(demand.model, operation)
        asked[queue] = demand if (before := asked.get(queue)) is None else _sum(before, demand)
    return asked


def _sum(one: Demand, two: Demand) -> Demand:
    tokens = None if one.tokens is None or two.tokens is None else one.tokens + two.tokens
    return msgspec.structs.replace(one, requests=one.requests + two.requests, tokens=tokens)


def _outlook(demand: Demand, pace: Pace | None, at_once: float, limits: Sequence[Limits]) -> Outlook:
    waiting = 0 if pace is None else pace.pending
    requests = waiting + demand.requests
    measured = None if pace is None else _measured(pace, requests, at_once)
    limited = max((_at_least(each, requests, demand.tokens) for each in limits), default=0.0)
    us, basis = measured, "measured"
    if limited > (measured or 0.0):
        us, basis = limited, "limits"
    return Outlook(
        model=demand.model,
        requests=demand.requests,
        tokens=demand.tokens,
        waiting=waiting,
        us=us,
        basis=basis if us is not None else "unknown",
    )


def _measured(pace: Pace, requests: int, at_once: float) -> float | None:
    """By how long one takes, and how many run at once. The time between two ends says little: work that is begun
    together ends together, and one caller who waits for each answer makes every upstream look slow. It has to do where
    nobody here knows how many run at once."""
    if pace.service is None or pace.pace is None:
        return None
    if not at_once:
        return pace.pace * requests
    return pace.service * max(requests / at_once, min(requests, 1))


def _at_least(limits: Limits, requests: int, tokens: int | None) -> float:
    """Microseconds that so many take under limits per minute; 0 without any."""
    by_requests = requests / limits.rpm if limits.rpm else 0.0
    by_tokens = tokens / limits.tpm if limits.tpm and tokens else 0.0
    return max(by_requests, by_tokens) * MINUTE


def _at_once(
    queue: str, queues: Mapping[str, Throttle], upstreams: Mapping[str, Throttle], catalogue: Catalogue
) -> float:
    """How many of a queue run at once when it has all upstreams to itself; 0 when nobody knows."""
    here = sum(_places(upstreams.get(member.name), member.places) for member in catalogue.serving(queue))
    return min(here, _places(queues.get(queue), here))


def _places(throttle: Throttle | None, otherwise: float) -> float:
    match None if throttle is None else throttle.limits.max_concurrency:
        case "auto":
            return (throttle.level if throttle is not None else None) or adaptive.FIRST_LEVEL
        case None:
            return otherwise
        case number:
            return number


def _slowest(
    queue: str, queues: Mapping[str, Throttle], upstreams: Mapping[str, Throttle], catalogue: Catalogue
) -> list[Limits]:
    """The limits that hold: the queue's own, and what all that serve it may do together."""
    serving = [upstreams[each.name].limits if each.name in upstreams else Limits() for each in catalogue.serving(queue)]
    together = Limits(rpm=_together([each.rpm for each in serving]), tpm=_together([each.tpm for each in serving]))
    return [together] if queue not in queues else [queues[queue].limits, together]


def _together(each: Sequence[int | None]) -> int | None:
    """One without a limit lets everything through."""
    known = [number for number in each if number is not None]
    return sum(known) if known and len(known) == len(each) else None
