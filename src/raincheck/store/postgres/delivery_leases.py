"""What the postman does with deliveries, in PostgreSQL. Every write carries the fence of its claim."""

from collections.abc import Sequence

from raincheck.core.webhooks import ClaimedDeliveries, FinishedDeliveries, Sent, Strangers
from raincheck.store.group_commit import GroupCommit
from raincheck.store.postgres import delivery_claims, delivery_finishes
from raincheck.store.postgres.database import Database
from raincheck.store.postgres.texts import clean

_Finish = tuple[Sequence[Sent], delivery_finishes.Terms]


class PostgresDeliveryLeases:
    """The engine's half of `outbox.Deliveries`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._finishes = GroupCommit[_Finish, FinishedDeliveries](self._finish)

    async def claim(
        self, *, worker: str, lease_for: int, limit: int, places: int, strangers: Strangers
    ) -> ClaimedDeliveries:
        due = await self._database.one(
            "select min(due_at) <= moment($1) from delivery where due_at is not null", self._database.at
        )
        if limit <= 0 or due is None or not due[0]:
            return ClaimedDeliveries([])
        terms = delivery_claims.Terms(clean(worker), lease_for, limit, places, strangers)
        return await self._database.write(lambda tx: delivery_claims.claim(tx, terms), durable=False)

    async def finish(self, sent: Sequence[Sent], *, places: int, disable_after: int) -> FinishedDeliveries:
        if not sent:
            return FinishedDeliveries([], [])
        return await self._finishes.add((sent, delivery_finishes.Terms(places, disable_after)))

    async def _finish(self, batches: Sequence[_Finish]) -> list[FinishedDeliveries]:
        """All with the same terms together. What is lost is its own caller's; what is disabled is told to one of
        them."""
        answers = dict[int, FinishedDeliveries]()
        for terms in dict.fromkeys(terms for _, terms in batches):
            numbers = [number for number, (_, each) in enumerate(batches) if each == terms]
            together = [each for number in numbers for each in batches[number][0]]
            done = await self._database.write(
                lambda tx, some=together, terms=terms: delivery_finishes.record(tx, some, terms), durable=False
            )
            lost = frozenset(done.lost)
            for number in numbers:
                own = [each.fence for each in batches[number][0] if each.fence in lost]
                answers[number] = FinishedDeliveries(own, done.disabled if number == numbers[0] else [])
        return [answers[number] for number in range(len(batches))]

    async def next_due(self) -> int | None:
        row = await self._database.one("select min(due_at) from delivery where due_at is not null")
        return row[0] if row else None
