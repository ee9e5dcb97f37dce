"""Sees what a SQLite store does on its connections: every statement, its plan and its cost."""

# apsw types its values with collections.abc.Buffer, which is newer than our oldest Python.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import apsw


@dataclass(slots=True)
class Watched:
    """The connections opened while watching, in order (the first is the writer), and what ran on them."""

    connections: list[apsw.Connection] = field(default_factory=list[apsw.Connection])
    statements: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])
    steps: int = 0
    """Steps of SQLite's virtual machine: the work done, whatever the machine's mood."""
    commits: int = 0

    def reset(self) -> None:
        self.statements.clear()
        self.steps = self.commits = 0

    def plans(self) -> list[str]:
        """How SQLite goes about the statements that ran, one line for each loop."""
        connection = self.connections[-1]
        return [
            f"{detail}"
            for statement, values in list(self.statements)
            if statement.lstrip().split(None, 1)[0] in {"select", "with", "insert", "update", "delete"}
            for *_, detail in connection.execute(f"explain query plan {statement}", values).fetchall()
        ]

    def adopt(self, connection: apsw.Connection) -> None:
        def ran(_: object, statement: str, values: Any) -> bool:
            self.statements.append((statement, values))
            return True

        def cost(event: dict[str, Any]) -> None:
            self.steps += event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]

        def commit() -> bool:
            self.commits += 1
            return False

        self.connections.append(connection)
        connection.exec_trace = ran
        connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, cost)
        connection.set_commit_hook(commit)


@contextmanager
def watching(watched: Watched) -> Generator[None]:
    """Adopt every connection that is opened in the block."""
    apsw.connection_hooks.append(watched.adopt)
    try:
        yield
    finally:
        apsw.connection_hooks.remove(watched.adopt)
