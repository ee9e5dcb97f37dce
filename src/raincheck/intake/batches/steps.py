"""Takes a batch under a lease one step on: checks its lines, feeds some, or writes its files and ends it."""

from contextlib import aclosing
from dataclasses import dataclass, field
from typing import assert_never

from msgspec import structs

from raincheck.core.batches import BatchDialect, BatchLease, BatchStatus
from raincheck.core.clock import Clock
from raincheck.core.model import Tenant
from raincheck.intake.batches.appetite import Appetites, Patience, next_rise, priority_at, room
from raincheck.intake.batches.assemble import Assembler
from raincheck.intake.batches.check import Checked, Refused, check
from raincheck.intake.batches.feed import LINES, Feeder
from raincheck.intake.batches.line import Lines
from raincheck.intake.batches.supply import Supply
from raincheck.store.protocol import Batches, Registry
from raincheck.upstream.catalogue import Catalogue

BITE = 200
"""How many requests are moved or ended in one transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What is done with batches, in the order of their lives."""

    batches: Batches
    registry: Registry
    catalogue: Catalogue
    feeder: Feeder
    assembler: Assembler
    clock: Clock
    patience: Patience = field(default_factory=Patience)

    async def take(self, lease: BatchLease) -> int | None:
        """One step; returns when the next is due, None when there is none: the batch has ended.

        Raises FenceLost; StoreUnavailable, AttachmentGone and NoObjectStore, to be tried again.
        """
        match lease.batch.status:
            case BatchStatus.VALIDATING:
                return await self._check(lease)
            case BatchStatus.IN_PROGRESS:
                return await self._feed(lease)
            case BatchStatus.FINALIZING:
                return await self._end(lease)
            case BatchStatus.COMPLETED | BatchStatus.FAILED | BatchStatus.CANCELLED | BatchStatus.EXPIRED:
                return None
            case _:
                assert_never(lease.batch.status)

    async def _check(self, lease: BatchLease) -> int | None:
        batch, feeder = lease.batch, self.feeder
        [part] = await self.batches.parts(batch.tenant, batch.id, limit=1)
        lines = Lines(
            endpoint=batch.endpoint,
            xai=batch.dialect is BatchDialect.XAI,
            videos=feeder.videos,
            catalogue=self.catalogue,
        )
        match await check(part.body, lines, feeder.objects, longest=feeder.longest):
            case Checked(count, queues, model):
                await self.batches.accept(lease.fence, lines=count, queues=queues, model=model)
                return self.clock()
            case Refused(errors):
                await self.batches.refuse(lease.fence, errors)
                return None

    async def _feed(self, lease: BatchLease) -> int:
        lease = await self._risen(lease)
        tenant = await self.registry.tenant(lease.batch.tenant)
        appetites = Appetites(lease.appetites, room(lease.crowd, tenant.max_pending))
        hungry = appetites.hungry
        wait = await self._feed_bites(lease, tenant, appetites)
        now = self.clock()
        rise = next_rise(lease.batch, now)
        if hungry or wait is None:
            self.patience.busy(lease.batch.id)
        else:
            wait = self.patience.idle(lease.batch.id, wait, now)
        return rise if wait is None else min(rise, now + wait)

    async def _feed_bites(self, lease: BatchLease, tenant: Tenant, appetites: Appetites) -> int | None:
        """Feed while there is hunger; returns how soon it will be back, None when there is nothing left to feed."""
        feeder = self.feeder
        supply = Supply(lease.batch, lease.cursor, self.batches, feeder.objects, longest=feeder.longest)
        async with aclosing(supply):
            while appetites.hungry:
                if (bite := await feeder.feed(lease, tenant, supply, appetites.bite(LINES))) is None:
                    return None
                appetites.fed(bite.queues)
        return appetites.look_again_in()

    async def _risen(self, lease: BatchLease) -> BatchLease:
        batch = lease.batch
        priority = priority_at(batch, self.clock())
        if priority == batch.priority:
            return lease
        while await self.batches.rise(lease.fence, priority, limit=BITE) == BITE:
            pass
        return structs.replace(lease, batch=structs.replace(batch, priority=priority))

    async def _end(self, lease: BatchLease) -> None:
        self.patience.busy(lease.batch.id)
        if lease.batch.ends_as is not BatchStatus.COMPLETED:
            while await self.batches.stop(lease.fence, limit=BITE):
                pass
        conclusion = await self.assembler.assemble(lease)
        try:
            await self.batches.conclude(lease.fence, conclusion)
        except BaseException:
            await self.assembler.drop(conclusion)
            raise
