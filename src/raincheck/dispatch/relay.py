"""Passing a call through while the client waits: the same places, the same upstreams, nothing recorded."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from raincheck.core.errors import BadInput, UpstreamBusy, UpstreamDown
from raincheck.core.operations import operation_of, queue_of
from raincheck.dispatch.capacity import Capacity
from raincheck.upstream.catalogue import Catalogue
from raincheck.upstream.protocol import Relayed

WAIT_FOR_PLACE = 30.0
"""Seconds a caller waits for a place before it is told that all are taken."""


class Relay:
    """Sends a call to an upstream that serves its model and is up, ahead of deferred work."""

    def __init__(self, catalogue: Catalogue, capacity: Capacity) -> None:
        self._catalogue = catalogue
        self._capacity = capacity

    @asynccontextmanager
    async def call(self, *, model: str, path: str, payload: bytes) -> AsyncGenerator[Relayed]:
        """The upstream's answer as it comes; leaving early aborts the call.

        Raises ModelUnknown, BadInput when only workers can call it, UpstreamDown when no upstream could be reached,
        UpstreamBroke when one took the call and then broke off, UpstreamBusy when no place became free.
        """
        operation = operation_of(path)
        queue = queue_of(model, operation)
        self._catalogue.require(model, operation)
        # Those that run in other processes take no calls here, and what is said of them here does not count.
        members = [member for member in self._catalogue.serving(queue) if member.places]
        if not members:
            raise BadInput(
                f"The model {model!r} runs inside the workers, and this server has none: defer the request "
                '("deferred": true, or `Prefer: respond-async`) so that a worker takes it.',
                param="model",
            )
        for _ in members:
            if all(member.down_since is not None for member in members):
                down = min(members, key=lambda member: member.down_since or 0)
                raise UpstreamDown(
                    f"No upstream that serves {model!r} can be reached ({down.name}: {down.down_reason}). "
                    "Try again, or defer the request so that it waits for you.",
                    retry_after=5,
                )
            try:
                permit = await self._capacity.wait(queue, WAIT_FOR_PLACE)
            except TimeoutError:
                raise UpstreamBusy(retry_after=10) from None
            async with AsyncExitStack() as stack:
                stack.callback(self._capacity.give_back, permit)
                try:
                    relayed = await stack.enter_async_context(permit.member.upstream.relay(path, payload))
                except UpstreamDown as error:
                    self._catalogue.mark_down(permit.member, error.message)
                    continue  # Nothing was sent, so another upstream may have it.
                yield relayed
                return
        raise UpstreamDown(retry_after=5)
