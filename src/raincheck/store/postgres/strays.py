"""Remote jobs to be stopped, in PostgreSQL."""

from collections.abc import Sequence

from raincheck.core.model import Remote, Stray
from raincheck.store.postgres.database import Database, Transaction
from raincheck.store.postgres.texts import clean


class PostgresStrays:
    """See `protocol.Strays`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, remotes: Sequence[Remote]) -> None:
        async def write(tx: Transaction) -> None:
            await tx.run(
                """insert into stray (upstream, remote_id, created_at, due_at)
                   select upstream, remote_id, moment($3), moment($3)
                     from unnest($1::text[], $2::text[]) as n (upstream, remote_id)""",
                [clean(remote.upstream) for remote in remotes],
                [clean(remote.id) for remote in remotes],
                tx.at,
            )
            tx.strays = True

        if remotes:
            await self._database.write(write)

    async def due(self, upstreams: Sequence[str], *, limit: int) -> list[Stray]:
        found = await self._database.all(
            """select s.id, s.upstream, s.remote_id, s.created_at, s.tries
                 from unnest($1::text[]) as u (name)
                cross join lateral (
                      select id, upstream, remote_id, created_at, tries, due_at from stray
                       where upstream = u.name and due_at <= moment($2) order by due_at limit $3) s
                order by s.due_at, s.id limit $3""",
            list(upstreams),
            self._database.at,
            limit,
        )
        return [
            Stray(id_, Remote(upstream, remote_id), created_at, tries)
            for id_, upstream, remote_id, created_at, tries in found
        ]

    async def put_off(self, strays: Sequence[Stray], *, delay: int) -> None:
        async def write(tx: Transaction) -> None:
            # Of several that tried at the same time, one counts.
            await tx.run(
                """with held as materialized (
                       select s.id from unnest($1::bigint[], $2::integer[]) as n (id, tries)
                         join stray s on s.id = n.id and s.tries = n.tries
                        order by s.id for update of s)
                   update stray s set due_at = moment($3) + $4, tries = s.tries + 1 from held h where s.id = h.id""",
                [stray.id for stray in strays],
                [stray.tries for stray in strays],
                tx.at,
                delay,
            )

        if strays:
            await self._database.write(write)

    async def swept(self, strays: Sequence[Stray]) -> None:
        async def write(tx: Transaction) -> None:
            await tx.run(
                """delete from stray where id in (
                       select id from stray where id = any($1::bigint[]) order by id for update)""",
                [stray.id for stray in strays],
            )

        if strays:
            await self._database.write(write)
