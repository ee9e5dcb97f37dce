"""What the tests of the command line share."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def no_logs_on_the_commands_output() -> Iterator[None]:
    """The server of a test logs in the process whose stdout the command under test has taken over."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), cache_logger_on_first_use=False)
    yield
    structlog.reset_defaults()
