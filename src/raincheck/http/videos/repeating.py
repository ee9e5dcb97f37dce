"""Takes a call for a video whose inputs cannot be had any more, hands on the request that it repeats (G9).

With its inputs a repetition is recognised by the store, to the byte. Without them, what is left of the call is compared
with what is left of the request.
"""

from collections.abc import Mapping

import msgspec
from msgspec import structs

from raincheck.core.errors import AttachmentGone, NotFound, ResultGone
from raincheck.core.model import Request, Tenant
from raincheck.core.videos import Source, VideoAsk
from raincheck.http.edge import Call, edge_of
from raincheck.intake.admit import PRIORITIES, fit_webhook_events
from raincheck.intake.seen import ask_of
from raincheck.intake.uploads import Inbox
from raincheck.intake.video_members import Wish
from raincheck.intake.videos import Given, Order

GONE = (NotFound, AttachmentGone, ResultGone)
"""What is raised for an input that was deleted or purged, or whose link has expired."""
_SHAPE = ("seconds", "size", "aspect_ratio", "resolution", "seed")


async def repeated(call: Call, tenant: Tenant, wish: Wish) -> Request | None:
    """The request that was first recorded under the call's Idempotency-Key, when this is the same call again."""
    edge, key = edge_of(call), wish.idempotency_key
    before = None if key is None else await edge.store.requests.repeated(tenant.name, key)
    if before is None or before.path != wish.order.path or not _deferred_alike(wish, before):
        return None
    asked = ask_of((await edge.store.requests.payloads(tenant.name, [before.id])).get(before.id))
    if asked is None or not _worded_alike(wish.order, asked):
        return None
    kept = await edge.store.requests.attachments(tenant.name, before.id)
    digests = {each.name: each.digest for each in kept if each.role == "input"}
    return before if _given_alike(wish.order, asked, digests, edge.inbox) else None


def _deferred_alike(wish: Wish, before: Request) -> bool:
    options, tier = wish.options, wish.service_tier or "default"
    said = (options.webhook_url, fit_webhook_events(options.webhook_events), options.include_result)
    return (*said, options.metadata, PRIORITIES.get(tier)) == (
        before.webhook_url,
        before.webhook_events,
        before.webhook_result,
        before.metadata,
        before.priority,
    )


def _worded_alike(order: Order, asked: VideoAsk) -> bool:
    """Whether the order says all that was asked for; what it leaves open may have come from what is gone."""
    said = {name: getattr(order, name) for name in ("prompt", "user", "extra", *_SHAPE)}
    if order.like:
        said = {name: value for name, value in said.items() if value is not None or name not in _SHAPE}
    again = structs.replace(asked, model=order.model or asked.model, **said)
    return msgspec.json.encode(again, order="deterministic") == msgspec.json.encode(asked, order="deterministic")


def _given_alike(order: Order, asked: VideoAsk, digests: Mapping[str, str], inbox: Inbox) -> bool:
    images, sources = order.reference_images, asked.reference_images
    inputs = [(order.image, asked.image), (order.video, asked.video), *zip(images, sources, strict=False)]
    return (
        len(images) == len(sources)
        and all(_same(given, source, digests, inbox) for given, source in inputs)
        and (order.video is None or _request_of(order.video, asked.of, inbox) == asked.of)
    )


def _same(given: Given | None, source: Source | None, digests: Mapping[str, str], inbox: Inbox) -> bool:
    """Whether an input may have come to this source."""
    if given is None or source is None:
        return given is source
    if source.attachment is None:
        return given.url == source.url
    if given.part is not None:
        return given.part.digest == digests.get(source.attachment)
    return given.url is None or given.url[:5].lower() == "data:" or _ours(given.url, inbox)


def _ours(url: str, inbox: Inbox) -> bool:
    try:
        return inbox.own_link(url) is not None
    except AttachmentGone:
        return True


def _request_of(given: Given, unless_known: str | None, inbox: Inbox) -> str | None:
    """The request whose video is given; an expired link does not tell."""
    if given.url is None:
        return given.request
    try:
        link = inbox.own_link(given.url)
    except AttachmentGone:
        return unless_known
    return None if link is None else link.request_id
