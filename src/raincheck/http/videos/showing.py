"""Takes a video's record, hands on the answer about it in its dialect."""

from collections.abc import Sequence
from typing import Any, assert_never

import msgspec

from raincheck.core.errors import NotFound
from raincheck.core.model import Page, Request, Tenant
from raincheck.core.operations import is_video
from raincheck.core.status import Status
from raincheck.http.answer import Answer
from raincheck.http.auth import may_read
from raincheck.http.edge import Call, base_of, edge_of
from raincheck.http.videos.as_native import native
from raincheck.http.videos.as_openai import openai
from raincheck.http.videos.as_xai import xai
from raincheck.http.videos.ids import Dialect, dialect_of
from raincheck.intake.retrieve import View
from raincheck.intake.seen import Seen, ask_of, receipt


def video_id(call: Call) -> str:
    return call.scope["path_params"]["video_id"]


async def video_record(call: Call, tenant: Tenant) -> Request:
    """The record of the video that the path names. Raises NotFound for what is no video, too."""
    return checked(await edge_of(call).store.requests.get(tenant.name, video_id(call)))


def checked(request: Request) -> Request:
    """The record, when it is a video's. Raises NotFound."""
    if not is_video(request.operation):
        raise NotFound(f"{request.id} is no video; read it with GET /v1/requests/{request.id}.")
    return request


async def see(call: Call, request: Request) -> Seen:
    """A video with all that is known about it."""
    edge = edge_of(call)
    payloads = await edge.store.requests.payloads(request.tenant, [request.id])
    return Seen(await edge.desk.complete(request), ask_of(payloads.get(request.id)), base_of(call))


async def glance(call: Call, request: Request) -> Seen:
    """What a key that may only write may see: what it said itself, and where that stands."""
    payloads = await edge_of(call).store.requests.payloads(request.tenant, [request.id])
    return Seen(View(receipt(request), None, None), ask_of(payloads.get(request.id)), base_of(call))


async def written(call: Call, request: Request) -> Seen:
    """As much of a video as the caller who has just written to it may see."""
    return await (see if await may_read(call) else glance)(call, request)


def answer(
    seen: Seen, *, dialect: Dialect | None = None, headers: Sequence[tuple[str, str]] = (), status: int | None = None
) -> Answer:
    """The answer to a read, in the dialect of the id unless the path has one of its own."""
    spoken = dialect or dialect_of(seen.request.id)
    waits = spoken is Dialect.XAI and not seen.request.status.final
    return Answer(msgspec.json.encode(_object(seen, spoken)), status or (202 if waits else 200), headers=headers)


async def page_answer(call: Call, tenant: Tenant, page: Page) -> Answer:
    """A list, each item in its own dialect, with one read for what all of them asked for, and one for what was made."""
    edge, base = edge_of(call), base_of(call)
    payloads = await edge.store.requests.payloads(tenant.name, [request.id for request in page.requests])
    done = [request.id for request in page.requests if request.status is Status.COMPLETED]
    results = await edge.store.requests.results(tenant.name, done) if done else {}
    items = list[tuple[str, object]]()
    for request in page.requests:
        told = (None if request.status.final else edge.live.notes(request.id)) or request
        view = View(request, told.progress, told.progress_message, result=results.get(request.id))
        view.files = edge.desk.linked(request, view.result)
        seen, spoken = Seen(view, ask_of(payloads.get(request.id)), base), dialect_of(request.id)
        # xAI has no lists, and its object does not say which it is.
        shown = {"id": request.id, **xai(seen)} if spoken is Dialect.XAI else _object(seen, spoken)
        items.append((request.id, shown))
    return Answer(_page_json(items, page.has_more))


def _page_json(items: Sequence[tuple[str, object]], has_more: bool) -> bytes:
    """A list as OpenAI's clients page through it; the items with their ids."""
    first, last = (items[0][0], items[-1][0]) if items else (None, None)
    page = {"object": "list", "data": [item for _, item in items], "first_id": first, "last_id": last}
    return msgspec.json.encode({**page, "has_more": has_more})


def _object(seen: Seen, dialect: Dialect) -> Any:
    match dialect:
        case Dialect.NATIVE:
            return native(seen)
        case Dialect.OPENAI:
            return openai(seen)
        case Dialect.XAI:
            return xai(seen)
        case _:
            assert_never(dialect)
