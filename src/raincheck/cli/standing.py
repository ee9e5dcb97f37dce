"""How a queue or an upstream stands: takes its limits and its numbers, hands on a row for people, JSON for programs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from raincheck.cli.show import moment
from raincheck.core.clock import FOREVER, now, seconds
from raincheck.core.units import show_duration

if TYPE_CHECKING:
    from raincheck.core.model import Queue, Scope, Throttle

COLUMNS: "dict[Scope, Sequence[str]]" = {
    "queue": ("name", "pending", "processing", "oldest", "limits", "state"),
    "upstream": ("name", "processing", "limits", "state"),
}


def row(throttle: "Throttle", queue: "Queue | None" = None) -> tuple[str, ...]:
    """The cells of COLUMNS. `queue` is None for an upstream, and for a queue that nothing was ever submitted to."""
    limits, state = limits_of(throttle), state_of(throttle, queue)
    if throttle.scope == "upstream":
        return throttle.name, str(throttle.running), limits, state
    if queue is None:
        return throttle.name, "0", "0", "", limits, state
    oldest = "" if queue.waiting_since is None else show_duration(max(0, now() - queue.waiting_since))
    return throttle.name, str(queue.pending), str(queue.processing), oldest, limits, state


def limits_of(throttle: "Throttle") -> str:
    """In words; empty when there are none."""
    limits = throttle.limits
    words = list[str]()
    if limits.max_concurrency == "auto":
        words.append("auto" if throttle.level is None else f"auto ({int(throttle.level)} at once)")
    elif limits.max_concurrency is not None:
        words.append(f"{limits.max_concurrency} at once")
    words += [] if limits.rpm is None else [f"{limits.rpm} a minute"]
    words += [] if limits.tpm is None else [f"{limits.tpm} tokens a minute"]
    return ", ".join(words)


def state_of(throttle: "Throttle", queue: "Queue | None" = None) -> str:
    """Why nothing of it starts; empty when that is only a matter of places."""
    if _later(throttle.paused_until):
        why = throttle.pause_reason or "an upstream asked to be left alone"
        return f"paused{_until(throttle.paused_until)}: {why}"
    if queue is not None and _later(queue.held_until):
        return f"held{_until(queue.held_until)}: {queue.held_reason}"
    return ""


def _later(until: int | None) -> bool:
    return until is not None and until > now()


def _until(until: int | None) -> str:
    return "" if until is None or until >= FOREVER else f" until {moment(seconds(until))}"


def as_dict(throttle: "Throttle", queue: "Queue | None" = None) -> dict[str, object]:
    limits = throttle.limits
    shown: dict[str, object] = {"name": throttle.name, "object": throttle.scope}
    if throttle.scope == "queue":
        held = queue is not None and _later(queue.held_until)
        shown |= {
            "pending": queue.pending if queue else 0,
            "processing": queue.processing if queue else throttle.running,
            "waiting_since": _time(queue.waiting_since) if queue else None,
            "held_until": _time(queue.held_until) if queue and held else None,
            "held_reason": queue.held_reason if queue and held else None,
        }
    else:
        shown |= {"processing": throttle.running}
    paused = _later(throttle.paused_until)
    return shown | {
        "max_concurrency": limits.max_concurrency,
        "level": throttle.level,
        "rpm": limits.rpm,
        "tpm": limits.tpm,
        "paused": paused,
        "paused_until": _time(throttle.paused_until) if paused else None,
        "pause_reason": throttle.pause_reason if paused else None,
    }


def _time(us: int | None) -> float | None:
    """Unix seconds; None also for a time that never comes."""
    return None if us is None or us >= FOREVER else seconds(us)
