"""Takes a call that goes on from a response that is gone, hands on the request that it repeats (G9).

With the response before it a repetition is recognised by the store, to the byte. Without it, what the call says itself
is compared with the end of what is on record.
"""

from collections.abc import Mapping

import msgspec
from msgspec import Raw

from raincheck.core.model import Request, Tenant
from raincheck.http.edge import Call, edge_of
from raincheck.intake.admit import PRIORITIES, Submission, fit_webhook_events
from raincheck.intake.responses import PREVIOUS, items_of

_MEMBERS = msgspec.json.Decoder(dict[str, Raw])


async def repeated(call: Call, tenant: Tenant, alone: Submission) -> Request | None:
    """The request that was first recorded under the call's Idempotency-Key, when this is the same call again; `alone`
    is what it asks for without the response before."""
    requests, key = edge_of(call).store.requests, alone.idempotency_key
    before = None if key is None else await requests.repeated(tenant.name, key)
    if before is None or before.path != alone.path or not _deferred_alike(alone, before):
        return None
    payload = (await requests.payloads(tenant.name, [before.id])).get(before.id)
    if payload is None or not _asks_alike(_MEMBERS.decode(alone.payload), _MEMBERS.decode(payload)):
        return None
    return before


def _deferred_alike(alone: Submission, before: Request) -> bool:
    options, tier = alone.options, alone.service_tier or "default"
    said = (options.webhook_url, fit_webhook_events(options.webhook_events), options.include_result)
    return (*said, options.metadata, PRIORITIES.get(tier)) == (
        before.webhook_url,
        before.webhook_events,
        before.webhook_result,
        before.metadata,
        before.priority,
    )


def _asks_alike(said: Mapping[str, Raw], asked: Mapping[str, Raw]) -> bool:
    whole, end = (items_of(members["input"]) if "input" in members else [] for members in (asked, said))
    spared = {"input", PREVIOUS}
    said, asked = ({name: raw for name, raw in each.items() if name not in spared} for each in (said, asked))
    return said == asked and whole[len(whole) - len(end) :] == end
