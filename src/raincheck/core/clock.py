"""Time as the house keeps it: whole microseconds since the Unix epoch."""

import time
from collections.abc import Callable

Clock = Callable[[], int]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
FOREVER = 253_402_300_799 * SECOND
"""The end of the year 9999: a pause until then lasts until someone ends it."""


def now() -> int:
    """Microseconds since the Unix epoch, from the system's clock."""
    return time.time_ns() // 1_000


def micros(seconds: float) -> int:
    """Seconds, as given by people and settings, in microseconds."""
    return round(seconds * SECOND)


def seconds(us: int) -> float:
    """Microseconds as seconds with millisecond precision, as JSON shows them."""
    return us // 1_000 / 1_000
