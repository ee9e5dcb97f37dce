"""Takes a call for a video as an edge understood it (an Order), hands on what is recorded of it: the ask, and its
inputs as attachments wherever their bytes are here already."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import msgspec
from msgspec import structs

from raincheck.core.errors import BadInput, MediaRefused, ModelUnknown, NoObjectStore, NotFound
from raincheck.core.model import Attachment, Request
from raincheck.core.operations import operation_of, queue_of
from raincheck.core.videos import AspectRatio, Resolution, Source, VideoAsk, dimensions
from raincheck.intake.admit import check_model
from raincheck.intake.links import Named
from raincheck.intake.uploads import Inbox
from raincheck.store.protocol import Requests
from raincheck.upstream.catalogue import Catalogue

GENERATIONS = "/videos/generations"
EDITS = "/videos/edits"
EXTENSIONS = "/videos/extensions"

LONGEST_PROMPT = 32_000
LONGEST_VIDEO = 600.0
"""Seconds."""
LONGEST_URL = 8_192
MOST_PIXELS = 4_096 * 4_096
MOST_REFERENCES = 16
PICTURES = ("image/",)
MOVING = ("video/", "image/gif")


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """Where a caller says an input is: exactly one of these is set."""

    url: str | None = None
    """http, https or data; perhaps one of our own links."""
    file: str | None = None
    """The id of an uploaded file."""
    request: str | None = None
    """The id of a request whose video it is."""
    part: Attachment | None = None
    """It came with the call, and is in the object store."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A call for a video, whatever the dialect it came in."""

    path: str
    model: str | None = None
    prompt: str = ""
    seconds: float | None = None
    size: str | None = None
    aspect_ratio: AspectRatio | None = None
    resolution: Resolution | None = None
    seed: int | None = None
    image: Given | None = None
    reference_images: tuple[Given, ...] = ()
    video: Given | None = None
    like: bool = False
    """What is not said is as it was asked for when the given video was made."""
    user: str | None = None
    extra: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Settled:
    """What an order comes to."""

    ask: VideoAsk
    attachments: tuple[Attachment, ...]


def check(order: Order) -> None:
    """Raise BadInput, naming the member, for an order that nobody could carry out."""
    if order.model is not None:
        check_model(order.model)
    if len(order.prompt) > LONGEST_PROMPT:
        raise BadInput(
            f"The prompt has {len(order.prompt)} characters, {LONGEST_PROMPT} are accepted; shorten it.", param="prompt"
        )
    if order.seconds is not None and not 0 < order.seconds <= LONGEST_VIDEO:
        raise BadInput(f"A video lasts more than 0 and at most {LONGEST_VIDEO:g} seconds.", param="seconds")
    if len(order.reference_images) > MOST_REFERENCES:
        raise BadInput(f"At most {MOST_REFERENCES} reference images are accepted.", param="reference_images")
    _check_size(order)
    _check_parts(order)


def _check_size(order: Order) -> None:
    if order.size is None:
        return
    if order.aspect_ratio is not None or order.resolution is not None:
        raise BadInput("Give either `size`, or `aspect_ratio` and `resolution`, not both.", param="size")
    if len(order.size) > 11:
        raise BadInput("size must be a width and a height as in 1280x720.", param="size")
    width, height = dimensions(VideoAsk(model="", size=order.size))
    if width * height > MOST_PIXELS:
        raise BadInput(f"size has {width * height} pixels, {MOST_PIXELS} are accepted.", param="size")


def _check_parts(order: Order) -> None:
    said = bool(order.prompt.strip())
    match order.path:
        case _ if order.path == EDITS:
            if order.video is None:
                raise BadInput("`video` is missing: give the video to edit.", param="video")
            if not said:
                raise BadInput("`prompt` is missing: say what to change.", param="prompt")
        case _ if order.path == EXTENSIONS:
            if order.video is None:
                raise BadInput("`video` is missing: give the video to extend.", param="video")
        case _:
            if not said and order.image is None:
                raise BadInput("`prompt` is missing: say what the video shall show.", param="prompt")


async def settle(
    order: Order, tenant: str, fresh: list[str], *, inbox: Inbox, requests: Requests, catalogue: Catalogue
) -> Settled:
    """Find the model and bring the inputs in; `fresh` takes the blobs this puts into the object store, for whoever has
    to let go of them when nothing comes of it. Raises BadInput, NotFound, ModelUnknown, and what the inbox does.
    """
    check(order)
    if inbox.objects is None:
        raise NoObjectStore("This server has nowhere to keep videos; its operator can set `store.blobs`.")
    inputs = _Inputs(tenant, inbox, requests, fresh)
    source = await inputs.source(order.video)
    if source is not None and order.like:
        order = await _like(order, source, requests)
    model = _model(order, source, catalogue)
    # Before anything is fetched or kept for it.
    catalogue.require(model, operation_of(order.path))
    ask = VideoAsk(
        model=model,
        prompt=order.prompt,
        seconds=order.seconds,
        size=order.size,
        aspect_ratio=order.aspect_ratio,
        resolution=order.resolution,
        seed=order.seed,
        image=await inputs.take("image", order.image, PICTURES),
        reference_images=await inputs.take_all("reference_images", order.reference_images, PICTURES),
        video=await inputs.take("video", order.video, MOVING),
        of=source and source.id,
        user=order.user,
        extra=order.extra,
    )
    return Settled(ask, tuple(inputs.attachments))


async def _like(order: Order, source: Request, requests: Requests) -> Order:
    """The order, shaped as the video was that it is made from."""
    payload = (await requests.payloads(source.tenant, [source.id])).get(source.id)
    if payload is None:
        return order
    asked = msgspec.json.decode(payload, type=VideoAsk)
    shaped = order.size is not None or order.aspect_ratio is not None or order.resolution is not None
    return msgspec.structs.replace(
        order,
        seconds=asked.seconds if order.seconds is None else order.seconds,
        seed=asked.seed if order.seed is None else order.seed,
        size=order.size if shaped else asked.size,
        aspect_ratio=order.aspect_ratio if shaped else asked.aspect_ratio,
        resolution=order.resolution if shaped else asked.resolution,
    )


def _model(order: Order, source: Request | None, catalogue: Catalogue) -> str:
    """What was asked for; else what made the source, while it is served; else the first that is."""
    if order.model is not None:
        return order.model
    operation = operation_of(order.path)
    if source is not None and catalogue.serving(queue_of(source.model, operation)):
        return source.model
    if known := catalogue.models_for(operation):
        return known[0]
    raise ModelUnknown("`model` is missing, and no upstream lists one that makes videos.", param="model")


@dataclass(slots=True)
class _Inputs:
    """Brings the inputs of one order in."""

    tenant: str
    inbox: Inbox
    requests: Requests
    fresh: list[str]
    """Takes the blobs that were put into the object store for this order."""
    attachments: list[Attachment] = field(default_factory=list[Attachment])

    async def source(self, given: Given | None) -> Request | None:
        """The request whose video is given, when it is one of ours. Raises NotFound, AttachmentGone."""
        if given is None:
            return None
        link = self._own_link(given)
        request_id = given.request if link is None else link.request_id
        return None if request_id is None else await self.requests.get(self.tenant, request_id)

    async def take(self, name: str, given: Given | None, kinds: Sequence[str]) -> Source | None:
        """Where the upstream will find an input that is of one of these kinds."""
        if given is None:
            return None
        attachment = await self._attachment(name, given)
        if attachment is None:
            return Source(url=_web_url(given, name))
        if not attachment.content_type.startswith(tuple(kinds)):
            wanted = "a picture" if kinds is PICTURES else "a video"
            raise MediaRefused(f"{name} must be {wanted}, and this is {attachment.content_type}.", param=name)
        self.attachments.append(attachment)
        return Source(attachment=attachment.name)

    async def take_all(self, name: str, given: Sequence[Given], kinds: Sequence[str]) -> tuple[Source, ...]:
        taken = [await self.take(f"{name}[{number}]", each, kinds) for number, each in enumerate(given)]
        return tuple(source for source in taken if source is not None)

    async def _attachment(self, name: str, given: Given) -> Attachment | None:
        """What is here already, or comes with the call; None for what is elsewhere on the web."""
        if given.part is not None:
            return structs.replace(given.part, name=name)
        if given.file is not None:
            return await self.inbox.from_file(self.tenant, name, given.file)
        if given.request is not None:
            return await self.inbox.from_request(self.tenant, name, given.request)
        if (link := self._own_link(given)) is not None:
            return await self.inbox.from_request(self.tenant, name, link.request_id, link.name)
        url = given.url or ""
        if url[:5].lower() != "data:":
            return None
        attachment = await self.inbox.from_data_uri(name, url)
        self.fresh.append(attachment.blob)
        return attachment

    def _own_link(self, given: Given) -> Named | None:
        """What one of our own links names, whichever host it is for. Another tenant's is as good as unknown (G8)."""
        link = None if given.url is None else self.inbox.own_link(given.url)
        if link is not None and link.tenant != self.tenant:
            raise NotFound
        return link


def _web_url(given: Given, name: str) -> str:
    """A URL for a worker to fetch, under guard, when the attempt runs. Raises BadInput."""
    url = given.url or ""
    if len(url) > LONGEST_URL:
        raise BadInput(f"The URL has {len(url)} characters, {LONGEST_URL} are accepted.", param=name)
    try:
        parts = urlsplit(url)
        fit = parts.scheme in ("http", "https") and bool(parts.hostname) and url.isprintable() and " " not in url
    except ValueError:
        fit = False
    if not fit:
        raise BadInput(f"{name} must be an http or https URL, a data URI, or an id, not {url[:100]!r}.", param=name)
    return url
