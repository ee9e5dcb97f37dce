"""The places that tests of endpoints take while they are sent, outside what deliveries are bounded by."""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from raincheck.core.errors import TooManyTests

PER_ENDPOINT, PER_TENANT, IN_ALL = 2, 8, 32
"""At once, in this process."""
_AGAIN_AFTER = 5
"""Seconds; a test takes as long as its receiver, so it is a guess."""


class TestPlaces:
    """Hands them out and takes them back."""

    def __init__(self) -> None:
        self._taken = Counter[tuple[str, ...]]()

    @contextmanager
    def place(self, tenant: str, endpoint_id: str) -> Generator[None]:
        """Hold a place for a test of this endpoint. Raises TooManyTests."""
        bounds = {(): IN_ALL, (tenant,): PER_TENANT, (tenant, endpoint_id): PER_ENDPOINT}
        if any(self._taken[whose] >= most for whose, most in bounds.items()):
            raise TooManyTests(retry_after=_AGAIN_AFTER)
        self._taken.update(bounds.keys())
        try:
            yield
        finally:
            self._taken.subtract(bounds.keys())
            self._taken = +self._taken  # Without those that hold none.
