"""How long a server may be silent about a job, and when to ask it again."""

import asyncio
from collections.abc import Callable

_LONGEST = 10.0
"""Seconds between tries while nothing is heard, at most."""


class Patience:
    """Ends when nothing was heard for `silence` seconds: a server that restarts is back before that.

    Tries are `first` seconds apart, and twice as many after each.
    """

    def __init__(self, silence: float, first: float) -> None:
        self._silence = silence
        self._first = first
        self._now = asyncio.get_running_loop().time
        self.heard()

    def heard(self) -> None:
        """The server answered, so it may be silent anew."""
        self._since, self._pause = self._now(), self._first

    def pause(self, asked: float = 0.0) -> float | None:
        """Seconds to wait for another try, at least what the server asked for; None when it was silent too long."""
        left = self._since + self._silence - self._now()
        if left <= 0:
            return None
        pause = min(max(self._pause, asked), left)
        self._pause = min(2 * self._pause, _LONGEST)
        return pause


NewPatience = Callable[[], Patience]
"""Each wait has a patience of its own."""
