"""A post office for tests: a real store, real signatures, real sockets, and a clock that can be turned forward."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from raincheck.core.clock import DAY, SECOND, micros
from raincheck.core.clock import now as system_clock
from raincheck.core.errors import RaincheckError
from raincheck.core.ids import new_id
from raincheck.core.model import Offer
from raincheck.core.webhooks import Delivery, DeliveryQuery, Endpoint
from raincheck.delivery.carry import Carrier
from raincheck.delivery.keys import Sealer, new_secret
from raincheck.delivery.loop import Carry, Postman
from raincheck.delivery.message import Messages
from raincheck.delivery.send import Sender
from raincheck.store.outbox import Deliveries
from raincheck.store.protocol import Store
from raincheck.store.sqlite import open_store
from tests.store.builders import a_request, success

LOCAL = ("127.0.0.0/8",)


class Shifted:
    """The system's clock, put forward."""

    def __init__(self) -> None:
        self._ahead = 0

    def now(self) -> int:
        return system_clock() + self._ahead

    def advance(self, *, seconds: float) -> None:
        self._ahead += micros(seconds)


@dataclass(frozen=True, slots=True)
class Office:
    """A postman who has not begun to run, and the store that he serves."""

    store: Store
    postman: Postman
    clock: Shifted
    crashes: list[Exception]

    async def endpoint(self, url: str, *event_types: str, tenant: str = "t") -> Endpoint:
        made = Endpoint(
            id=new_id("we"),
            tenant=tenant,
            name="test",
            url=url,
            event_types=event_types or ("*",),
            created_at=self.clock.now(),
            updated_at=self.clock.now(),
        )
        await self.store.endpoints.create(made, new_secret())
        return made

    async def end(self, webhook_url: str | None = None, *, tenant: str = "t") -> str:
        """Have a request completed; its id."""
        new = a_request(tenant=tenant, webhook_url=webhook_url)
        [answer] = await self.store.requests.submit([new])
        assert not isinstance(answer, RaincheckError)
        claimed = await self.store.leases.claim([Offer("small", "up", 1)], worker="w", lease_for=60 * SECOND)
        [lease] = claimed.leases
        assert await self.store.leases.finish([success(lease)]) == []
        return new.id

    async def log(self, tenant: str = "t") -> list[Delivery]:
        """Every delivery, the oldest first."""
        page = await self.store.deliveries.list(tenant, DeliveryQuery(limit=100))
        return page.deliveries[::-1]

    async def until(self, true: Callable[[list[Delivery]], bool]) -> list[Delivery]:
        """The log, once it is as it should be."""
        async with asyncio.timeout(10):
            while not true(log := await self.log()):
                await asyncio.sleep(0.005)
        return log

    async def noted(self, attempts: int = 1) -> Delivery:
        """The only delivery, once so many attempts at it are over."""
        [delivery] = await self.until(lambda log: [(each.attempt, each.sending) for each in log] == [(attempts, False)])
        return delivery


@asynccontextmanager
async def an_office(
    folder: Path,
    *,
    timeout: float = 5,
    places: int = 8,
    hints: bool = True,
    outbox: Callable[[Deliveries], Deliveries] = lambda deliveries: deliveries,
    carry: Callable[[Carry], Carry] = lambda carry: carry,
) -> AsyncGenerator[Office]:
    """`outbox` and `carry` may put something before the real ones."""
    clock, crashes = Shifted(), list[Exception]()
    sealer = Sealer()
    async with open_store(folder / "it.db", clock=clock.now) as store:
        sender = Sender(sealer=sealer, allowed=LOCAL, timeout=micros(timeout), clock=clock.now, stretch=lambda: 0.0)
        messages = Messages(store.requests, store.batches, 1 << 20)
        carrier = Carrier(messages=messages, endpoints=store.endpoints, sealer=sealer, sender=sender)
        postman = Postman(
            deliveries=outbox(store.deliveries),
            carry=carry(carrier.carry),
            worker="w",
            clock=clock.now,
            timeout=micros(timeout),
            places=places,
            disable_after=DAY,
            crashed=lambda error, _: crashes.append(error),
        )
        stop = store.changes.listen(postman.on_change if hints else lambda _: None)
        try:
            yield Office(store, postman, clock, crashes)
        finally:
            stop()
            await postman.close(0)
            await sender.close()
