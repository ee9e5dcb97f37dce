"""What became of a batch's lines: in our own words, and in xAI's for its batches; and estimates."""

import asyncio

import msgspec
from litestar import get, post
from msgspec import Raw

from raincheck.core.batches import Batch, BatchDialect, Cursor
from raincheck.core.clock import seconds
from raincheck.core.errors import BadInput, TooLarge
from raincheck.core.model import Request, Result, Tenant
from raincheck.core.units import LARGEST_FILE
from raincheck.http.answer import Answer
from raincheck.http.auth import caller
from raincheck.http.batches import docs
from raincheck.http.batches.as_openai import openai
from raincheck.http.batches.calling import json_body
from raincheck.http.batches.reading import batch_id, read, source_of, spoken
from raincheck.http.batches.video_answers import EdgeVideos
from raincheck.http.batches.xai import limit_of, token_of
from raincheck.http.batches.xai_results import results_page
from raincheck.http.codec import wrong_type
from raincheck.http.edge import Call, base_of, edge_of
from raincheck.http.presence import while_present
from raincheck.http.waiting import NO_WAIT, wait_of
from raincheck.intake.batches.estimate import Demand, Outlook, estimate, total
from raincheck.intake.batches.results import Ending, Page, Results
from raincheck.intake.batches.tokens import Mark, write_token
from raincheck.intake.bodies import read_object

TAGS = ["Batches"]
LOOK_EVERY = 0.5
"""Seconds between two looks of one who waits for results: the ends of single lines are told to nobody."""
_TAIL = 32
"""Bits of a mark that are the number of a line, where it is among the lines that were never fed; above them is where
it lies in the file. No batch has as many ends."""
_LONGEST_MARK = len(str(LARGEST_FILE << _TAIL))


MOST_ESTIMATED = 1 << 19
"""Bytes of a call for an estimate: as many as its lines need, and few enough to be read between two other calls."""


class Demands(msgspec.Struct):
    """What an estimate is asked for."""

    lines: list[Demand]


_DEMANDS = msgspec.json.Decoder(Demands)


@get(
    ["/v1/batches/{batch_id:str}/results", "/xai/v1/batches/{batch_id:str}/results"],
    operation_class=docs.RESULTS,
    tags=TAGS,
)
async def list_results(request: Call) -> Answer:
    tenant = await caller(request, "read")
    wait, limit = wait_of(request), limit_of(request)
    batch = await edge_of(request).store.batches.get(tenant.name, batch_id(request))
    if spoken(request, batch) is BatchDialect.XAI:
        page = await _page(request, batch, token_of(request), limit)
        token = write_token(page.mark) if page.has_more else None
        return Answer(msgspec.json.encode(results_page(page.endings, token)))
    after = _after(request)
    work = _with_news(request, tenant, batch, after=after, limit=limit, patience=wait.seconds)
    batch, page = await (while_present(request.receive, work) if wait.seconds > 0 else work)
    if wait.seconds > 0:
        await caller(request, "read")
    body = {
        "object": "list",
        "data": [_shown(each) for each in page.endings],
        "last": _number(page.mark),
        "has_more": page.has_more,
        "batch": openai(batch),
    }
    return Answer(msgspec.json.encode(body), headers=wait.applied)


@post("/v1/batches/estimate", operation_class=docs.ESTIMATE, status_code=200, tags=TAGS)
async def estimate_batch(request: Call) -> Answer:
    tenant = await caller(request, "read")
    edge = edge_of(request)
    body = await json_body(request, tenant)
    if len(body) > MOST_ESTIMATED:
        raise TooLarge(
            f"The request body has {len(body)} bytes, an estimate takes {MOST_ESTIMATED}: say one line per model and "
            "endpoint, with the number of its `requests`."
        )
    read_object(body)
    try:
        demands = _DEMANDS.decode(body).lines
    except msgspec.ValidationError as error:
        raise wrong_type(error) from None
    outlooks = await estimate(
        demands, batches=edge.store.batches, registry=edge.store.registry, catalogue=edge.catalogue
    )
    models = [_outlook(each) for each in outlooks]
    answer = {"object": "batch.estimate", "seconds": _seconds(total(outlooks)), "models": models}
    return Answer(msgspec.json.encode(answer))


async def _with_news(
    call: Call, tenant: Tenant, batch: Batch, *, after: Mark, limit: int, patience: float
) -> tuple[Batch, Page]:
    """A page with something on it, unless the batch has ended or the time is over or the server stops."""
    edge, now = edge_of(call), asyncio.get_running_loop().time
    give_up = now() + patience
    with edge.live.watch(batch.id) as watch:
        while True:
            page = await _page(call, batch, after, limit)
            left = 0.0 if edge.live.closed else give_up - now()
            if page.endings or batch.status.final or left <= 0:
                return batch, page
            await watch.news(min(left, LOOK_EVERY))
            # Read before its results: when it has ended, none of them is missing.
            batch = await read(call, tenant, NO_WAIT)


async def _page(call: Call, batch: Batch, after: Mark, limit: int) -> Page:
    edge = edge_of(call)
    results = Results(edge.store.batches, edge.store.requests, edge.objects, source_of(call))
    videos = EdgeVideos(edge, base_of(call))
    if spoken(call, batch) is BatchDialect.XAI:
        return await results.page(batch, after, limit, videos.as_xai)

    def show(request: Request, payload: bytes, result: Result) -> bytes:
        return videos.answer(batch.endpoint or f"/v1{request.path}", request, payload, result)

    return await results.page(batch, after, limit, show)


def _after(call: Call) -> Mark:
    """How far the reader is. Raises BadInput."""
    text = call.query_params.get("after", "0")
    if not (text.isascii() and text.isdecimal() and len(text) <= _LONGEST_MARK):
        raise BadInput("after must be the `last` of the page before.", param="after")
    offset, line = divmod(int(text), 1 << _TAIL)
    return Cursor(0, offset, line) if offset else line


def _number(mark: Mark) -> int:
    """A batch that has files has one part, so where it is in that is all."""
    return (mark.offset << _TAIL) + mark.line if isinstance(mark, Cursor) else mark


def _shown(each: Ending) -> dict[str, object]:
    told = each.told
    return {
        "id": each.id,
        "custom_id": each.custom_id,
        "line": each.line,
        "ended": each.ended,
        "mark": _number(each.mark),
        "response": Raw(told.response),
        "error": Raw(told.error),
    }


def _outlook(each: Outlook) -> dict[str, object]:
    return {
        "model": each.model,
        "requests": each.requests,
        "tokens": each.tokens,
        "waiting": each.waiting,
        "seconds": _seconds(each.us),
        "basis": each.basis,
    }


def _seconds(us: float | None) -> float | None:
    return None if us is None else seconds(round(us))


HANDLERS = (list_results, estimate_batch)
