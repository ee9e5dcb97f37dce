"""Takes a leased delivery, hands on how its one attempt went: the message as the record stands, the key, the wire."""

from dataclasses import dataclass
from typing import cast

from raincheck.core.webhooks import DeliveryLease, Sent, SigningKey
from raincheck.delivery.keys import Sealer, new_secret
from raincheck.delivery.message import Messages
from raincheck.delivery.send import Sender
from raincheck.store.outbox import Endpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class Carrier:
    """Carries deliveries to their receivers."""

    messages: Messages
    endpoints: Endpoints
    sealer: Sealer
    sender: Sender

    async def carry(self, lease: DeliveryLease) -> Sent:
        """Make one attempt. Raises StoreUnavailable when what is to be told cannot be read just now."""
        key = lease.key or await self._first_key(lease.delivery.tenant)
        return await self.sender.send(lease, await self.messages.body(lease.delivery), key)

    async def _first_key(self, tenant: str) -> SigningKey:
        """A tenant's for its webhook_urls, which it may ask for later: nothing is ever sent unsigned."""
        offered = self.sealer.seal(new_secret())
        # What is offered is taken, or there was one already.
        return cast("SigningKey", await self.endpoints.signing_key(tenant, offered=offered))
