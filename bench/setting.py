"""What every measurement is handed: the options, a folder on disk, and stores that are costly to fill."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.store.postgres.server import PostgresServer

from bench.calls import CHAT, MODEL
from bench.filling import Filled, fill
from bench.options import Options
from raincheck.core.clock import now
from raincheck.core.ids import new_id
from raincheck.core.model import NewRequest

Kind = Literal["sqlite", "postgres"]


@dataclass(slots=True)
class Setting:
    """One run of the bench."""

    options: Options
    folder: Path
    stack: ExitStack
    """What must be let go of at the end of the run."""
    _backlog: Filled | None = None
    _postgres: PostgresServer | None = None
    _names: set[str] = field(default_factory=set[str])

    def store(self, kind: Kind, name: str) -> str:
        """The URL of an empty store: a file on disk, or a database of a PostgreSQL that flushes to the same disk."""
        if kind == "sqlite":
            return f"sqlite:///{self.folder / name}.db"
        if self._postgres is None:
            self._postgres = self.stack.enter_context(
                PostgresServer(durable=True, shared_buffers="512MB", max_wal_size="4GB")
            )
        if name not in self._names:
            self._postgres.psql(f"create database {name}")
            self._names.add(name)
        return self._postgres.url(name)

    def backlog(self) -> Filled:
        """The SQLite store with very many pending requests; filled once, for all who ask."""
        if self._backlog is None:
            self._backlog = self.filled("sqlite", "backlog", ready=self.options.many)
        return self._backlog

    def filled(self, kind: Kind, name: str, *, ready: int, waiting: int = 0) -> Filled:
        """A new store with this many requests that are ready, and that are due tomorrow."""
        return fill(self.store(kind, name), ready=ready, waiting=waiting)


def a_request() -> NewRequest:
    """A small chat request of the only model there is."""
    return NewRequest(
        id=new_id("req"),
        tenant="default",
        queue=MODEL,
        operation="chat.completion",
        path="/chat/completions",
        model=MODEL,
        payload=CHAT,
        created_at=now(),
    )
