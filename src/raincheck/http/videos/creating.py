"""Takes a POST that asks for a video, hands on its answer in the caller's dialect once it is recorded."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from raincheck.core.errors import Stopping
from raincheck.core.model import Request, Submitted, Tenant
from raincheck.http.answer import Answer
from raincheck.http.auth import caller
from raincheck.http.edge import Call, edge_of
from raincheck.http.posting import Asked, asked_of, record, told
from raincheck.http.videos.as_native import ticket_of
from raincheck.http.videos.as_xai import xai
from raincheck.http.videos.ids import Dialect, fresh_id
from raincheck.http.videos.reading import read_sheet
from raincheck.http.videos.repeating import GONE, repeated
from raincheck.http.videos.showing import answer, glance, written
from raincheck.http.waiting import Wait, preferences, read
from raincheck.intake.admit import Submission
from raincheck.intake.video_members import Sheet, Wish, wish_of
from raincheck.intake.videos import settle

WHERE = "/v1/videos"
Speaks = Callable[[Sheet], Dialect]
"""Tells the dialect of a call by what it says."""


async def create(call: Call, path: str, dialect: Dialect | Speaks, **fixed: Any) -> Answer:
    """Record a video. `path` is that below an upstream's base URL; `fixed` is what `wish_of` is told by the
    route. Raises BadInput, NotFound, ModelUnknown, and what a submit does."""
    tenant = await caller(call, "write")
    edge = edge_of(call)
    if edge.stopping():
        raise Stopping(retry_after=2)
    asked = await asked_of(call, preferences(call), dict(call.scope["headers"]))
    fresh = list[str]()
    try:
        sheet = await read_sheet(call, tenant, fresh)
        wish = wish_of(sheet, path, dict(call.scope["headers"]), **fixed)
        speaks = dialect if isinstance(dialect, Dialect) else dialect(sheet)
        submitted, request = await _record(call, tenant, wish, asked, dialect=speaks, fresh=fresh)
    except BaseException:
        await edge.inbox.drop(*fresh)
        raise
    if submitted.repeated:
        await edge.inbox.drop(*fresh)
    return await _accepted(call, submitted, request, speaks, asked)


async def _record(
    call: Call, tenant: Tenant, wish: Wish, asked: Asked, *, dialect: Dialect, fresh: list[str]
) -> tuple[Submitted, Request]:
    try:
        submission = await _submission(call, tenant, wish, fresh)
    except GONE:
        if (before := await repeated(call, tenant, wish)) is None:
            raise
        return Submitted(before, repeated=True), await read(call, tenant, before.id, Wait(asked.seconds))
    return await record(call, tenant, submission, fresh_id(dialect, wish.order.path), asked)


async def _submission(call: Call, tenant: Tenant, wish: Wish, fresh: list[str]) -> Submission:
    edge = edge_of(call)
    requests, catalogue = edge.store.requests, edge.catalogue
    settled = await settle(wish.order, tenant.name, fresh, inbox=edge.inbox, requests=requests, catalogue=catalogue)
    return wish.submission(settled)


async def _accepted(call: Call, submitted: Submitted, request: Request, dialect: Dialect, asked: Asked) -> Answer:
    status = 202 if asked.later(request) else 200
    headers: Sequence[tuple[str, str]] = told(submitted, request, asked, where=WHERE)
    whole = asked.whole or (asked.wait is not None and request.status.final)
    match dialect:
        case Dialect.XAI:
            # Its object does not say which it is.
            body = {"request_id": request.id} | (xai(await written(call, request)) if whole else {})
        case Dialect.NATIVE if not whole:
            body = ticket_of(request)
        case _:
            seen = await (written if whole or submitted.repeated else glance)(call, request)
            return answer(seen, dialect=dialect, headers=headers, status=status)
    return Answer(msgspec.json.encode(body), status, headers=headers)
