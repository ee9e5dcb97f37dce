"""Hints after commits: in one process they are plain calls."""

from collections.abc import Callable

from raincheck.store.protocol import Change
from raincheck.store.sqlite.database import Database


class SqliteChanges:
    """See `protocol.Changes`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def listen(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        return self._database.listen(listener)
