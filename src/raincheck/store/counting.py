"""What a batch counts as its rows end, for both stores: the usage that upstreams told, summed up."""

from typing import Any, cast

import msgspec

from raincheck.core.batches import Usage

MOST = 1 << 42
"""More than this in one answer is not believed: the sums of a batch stay far below what a column holds."""


def usage_of(told: bytes | str | None) -> Usage:
    """An answer's `usage` member, in the words of chat completions or of responses; nothing where it makes no sense."""
    if not told:
        return Usage()
    try:
        usage = msgspec.json.decode(told)
    except ValueError:
        return Usage()
    given = _number(usage, "input_tokens", "prompt_tokens")
    made = _number(usage, "output_tokens", "completion_tokens")
    return Usage(
        input_tokens=given,
        cached_tokens=_number(_inside(usage, "input_tokens_details", "prompt_tokens_details"), "cached_tokens"),
        output_tokens=made,
        reasoning_tokens=_number(
            _inside(usage, "output_tokens_details", "completion_tokens_details"), "reasoning_tokens"
        ),
        total_tokens=_number(usage, "total_tokens") or given + made,
        cost_ticks=_number(usage, "cost_in_usd_ticks"),
    )


def _inside(found: object, *names: str) -> object:
    if not isinstance(found, dict):
        return None
    members = cast("dict[str, Any]", found)
    return next((members[name] for name in names if isinstance(members.get(name), dict)), None)


def _number(found: object, *names: str) -> int:
    if not isinstance(found, dict):
        return 0
    members = cast("dict[str, Any]", found)
    for name in names:
        number = members.get(name)
        if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= MOST:
            return number
    return 0
