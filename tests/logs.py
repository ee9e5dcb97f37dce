"""What was logged, for tests that look."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import structlog
from structlog.testing import LogCapture


@contextmanager
def logged() -> Generator[list[dict[str, Any]]]:
    """The events logged meanwhile by what is built meanwhile, each with its fields and its `log_level`."""
    before = structlog.get_config()
    capture = LogCapture()
    structlog.configure(
        processors=[capture],
        wrapper_class=structlog.make_filtering_bound_logger("debug"),
        cache_logger_on_first_use=False,
    )
    try:
        yield cast("list[dict[str, Any]]", capture.entries)
    finally:
        structlog.configure(**before)
