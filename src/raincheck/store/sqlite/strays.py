"""Remote jobs to be stopped, in SQLite."""

from collections.abc import Sequence

from raincheck.core.model import Remote, Stray
from raincheck.store.sqlite.database import Database, Transaction


class SqliteStrays:
    """See `protocol.Strays`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, remotes: Sequence[Remote]) -> None:
        def write(tx: Transaction) -> None:
            for remote in remotes:
                tx.run(
                    "insert into stray (upstream, remote_id, created_at, due_at) values (?1, ?2, ?3, ?3)",
                    (*remote, tx.now),
                )
            tx.strays = True

        if remotes:
            await self._database.write(write)

    async def due(self, upstreams: Sequence[str], *, limit: int) -> list[Stray]:
        found = [
            row
            for upstream in upstreams
            for row in self._database.all(
                """select due_at, id, upstream, remote_id, created_at, tries from stray
                    where upstream = ? and due_at <= ? order by due_at, id limit ?""",
                upstream,
                self._database.now(),
                limit,
            )
        ]
        return [
            Stray(id_, Remote(upstream, remote_id), created_at, tries)
            for _, id_, upstream, remote_id, created_at, tries in sorted(found)[:limit]
        ]

    # A number is given out again when the highest is free, so the job is named as well.

    async def put_off(self, strays: Sequence[Stray], *, delay: int) -> None:
        def write(tx: Transaction) -> None:
            for stray in strays:
                tx.run(
                    """update stray set due_at = ?, tries = tries + 1
                        where id = ? and upstream = ? and remote_id = ? and tries = ?""",
                    (tx.now + delay, stray.id, *stray.remote, stray.tries),
                )

        await self._database.write(write)

    async def swept(self, strays: Sequence[Stray]) -> None:
        def write(tx: Transaction) -> None:
            for stray in strays:
                tx.run("delete from stray where id = ? and upstream = ? and remote_id = ?", (stray.id, *stray.remote))

        await self._database.write(write)
