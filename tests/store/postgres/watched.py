"""Sees how PostgreSQL goes about every statement of a store: the plan for what it is asked, and the plan for anything.

Each statement is explained in the transaction it belongs to, just before it runs, and the trial is undone.
"""

# asyncpg ships no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportMissingTypeArgument=false

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest

STATEMENTS = ("select", "with", "insert", "update", "delete")

Plan = dict[str, Any]


@dataclass(slots=True)
class Seen:
    """One statement, as it was done with its values, and as it would be planned without knowing them."""

    sql: str
    done: Plan
    generic: Plan


@dataclass(slots=True)
class Watched:
    """What was seen since the last reset."""

    seen: list[Seen] = field(default_factory=list[Seen])
    watching: bool = False

    def start(self) -> None:
        self.seen.clear()
        self.watching = True

    def scanned(self) -> set[str]:
        """The tables that were or might be read from end to end."""
        return {
            node["Relation Name"]
            for seen in self.seen
            for plan in (seen.done, seen.generic)
            for node in nodes(plan)
            if node["Node Type"] == "Seq Scan"
        }

    def indexes(self) -> set[str]:
        return {node["Index Name"] for seen in self.seen for node in nodes(seen.done) if "Index Name" in node}

    def rows(self, *tables: str) -> int:
        """How many rows of these were looked at, those that were looked at in vain included."""
        return sum(
            node["Actual Loops"]
            * sum(
                node.get(what, 0) for what in ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
            )
            for seen in self.seen
            for node in nodes(seen.done)
            if node.get("Relation Name") in tables and "Scan" in node["Node Type"]
        )


def _plan(explained: Any) -> Plan:
    return json.loads(explained)[0]["Plan"]


def nodes(plan: Plan) -> Iterator[Plan]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


@contextmanager
def watching(watched: Watched, patch: pytest.MonkeyPatch) -> Generator[None]:
    """Watch every connection that is opened in the block."""

    class WatchedConnection(asyncpg.Connection):
        async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
            await self._watch(query, args)
            return await super().fetch(query, *args, **options)

        async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
            await self._watch(query, args)
            return await super().fetchrow(query, *args, **options)

        async def execute(self, query: str, *args: Any, **options: Any) -> Any:
            await self._watch(query, args)
            return await super().execute(query, *args, **options)

        async def _watch(self, query: str, args: tuple[Any, ...]) -> None:
            first = query.split(None, 1)[0]
            if not watched.watching or first not in STATEMENTS or query.rstrip().endswith("; commit"):
                return
            begin, undo = (
                ("savepoint trial", "rollback to trial") if self.is_in_transaction() else ("begin", "rollback")
            )
            await super().execute(begin)
            try:
                done: Any = await super().fetchval(f"explain (analyze, timing off, format json) {query}", *args)
                await super().execute(f"prepare trial as {query}; set local plan_cache_mode = force_generic_plan")
                nothing = f"({', '.join(['null'] * len(args))})" if args else ""
                generic: Any = await super().fetchval(f"explain (format json) execute trial{nothing}")
                await super().execute("deallocate trial")
            finally:
                await super().execute(undo)
            watched.seen.append(Seen(query, _plan(done), _plan(generic)))

    connect: Any = asyncpg.connect

    async def connected(*args: Any, **options: Any) -> Any:
        return await connect(*args, connection_class=WatchedConnection, **options)

    with patch.context() as patched:
        patched.setattr(asyncpg, "connect", connected)
        yield
