"""Takes outcomes on their way to the record, puts big answers into the object store and hands on their names."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from msgspec import structs

from raincheck.core.clock import DAY
from raincheck.core.errors import StoreUnavailable
from raincheck.core.model import Fence, Finish
from raincheck.core.outcome import Reply, Succeeded
from raincheck.store.blobs import BlobStore
from raincheck.store.protocol import Blobs, Leases

BIG = 1 << 20
"""Bytes above which an answer does not go into the record. A database writes what it is given twice (log and table),
copies it into every backup and pushes hotter rows out of memory for it; below this size that costs less than another
call to an object store does."""

KEEP_FOR = 7 * DAY
"""Microseconds after which a body that no finish has referred to is collected: longer than any write takes, and soon
enough for what lost leases leave behind."""


class Stow:
    """Leases that keep big answers elsewhere; all else is as those it wraps have it."""

    def __init__(
        self,
        leases: Leases,
        names: Blobs,
        objects: BlobStore,
        *,
        troubled: Callable[[StoreUnavailable | None], None] = lambda _: None,
    ) -> None:
        self._leases = leases
        self._names = names
        self._objects = objects
        self._troubled = troubled
        """Told of the error when the object store stops taking bodies, and of None when it takes them again."""
        self._in_trouble = False
        self.claim, self.extend = leases.claim, leases.extend
        self.next_due, self.ready = leases.next_due, leases.ready

    async def finish(self, finishes: Sequence[Finish]) -> list[Fence]:
        """As Leases.finish; StoreUnavailable is raised, too, while the object store cannot take a big answer."""
        if any(map(_is_big, finishes)):
            finishes = await asyncio.gather(*map(self._stowed, finishes))
        return await self._leases.finish(finishes)

    async def _stowed(self, finish: Finish) -> Finish:
        if not (isinstance(finish.outcome, Succeeded) and _is_big(finish)):
            return finish
        name, reply = blob_name(finish.fence), finish.outcome.reply
        # Noted before it is written, so that a body which no finish refers to is found and collected.
        await self._names.expect(name, keep_for=KEEP_FOR)
        await self._put(name, reply)
        return structs.replace(finish, outcome=Succeeded(replace(reply, body=b"", blob=name, size=len(reply.body))))

    async def _put(self, name: str, reply: Reply) -> None:
        try:
            await self._objects.put(name, reply.body, content_type=reply.content_type)
        except StoreUnavailable as error:
            if not self._in_trouble:
                self._in_trouble = True
                self._troubled(error)
            raise
        if self._in_trouble:
            self._in_trouble = False
            self._troubled(None)


def blob_name(fence: Fence) -> str:
    """Where an answer is kept: elsewhere for each claim, so that a late worker never writes over the owner's."""
    return f"results/{fence.request_id}.{fence.number}"


def _is_big(finish: Finish) -> bool:
    return isinstance(finish.outcome, Succeeded) and len(finish.outcome.reply.body) > BIG
