"""Takes calls that read batches, where their requests stand and what became of them, hands on the pages."""

import asyncio
from collections.abc import Collection

from raincheck.core.batches import Batch, BatchDialect
from raincheck.core.errors import BadInput
from raincheck.core.model import Request, Result
from raincheck.core.settings import base_url
from raincheck.grpc.batches.answering import STATES, asked_of, metadata_of, result_of, results_of, told
from raincheck.grpc.call import Call
from raincheck.grpc.protos import batch_pb2
from raincheck.grpc.videos.answering import video_response
from raincheck.intake.batches.overview import Overview, Standing, State
from raincheck.intake.batches.results import Results, ShowVideo
from raincheck.intake.batches.tokens import Mark, page_token, read_token, write_token
from raincheck.intake.batches.unfed import Source
from raincheck.intake.retrieve import View
from raincheck.intake.seen import Seen, ask_of

MOST = 1_000
DEFAULT = 100
LOOKED_AT = 500
"""Requests that are looked at together for those in a state that is asked for."""
MOST_LOOKED_AT = 10_000
"""After so many the page ends, perhaps with fewer than wanted, or none, and a token."""
LARGE = 1 << 17
"""Bytes of answers that are made into messages beside the event loop."""


async def get(call: Call, message: batch_pb2.GetBatchRequest) -> batch_pb2.Batch:
    return told(await _batch(call, message.batch_id))


async def list_batches(call: Call, message: batch_pb2.ListBatchesRequest) -> batch_pb2.ListBatchesResponse:
    """xAI's own, the latest first; those of OpenAI's dialect have other ids and other ends."""
    tenant = await call.caller("read")
    found = await call.edge.store.batches.list(
        tenant.name,
        dialect=BatchDialect.XAI,
        after=message.pagination_token or None,
        limit=_limit(message.limit),
    )
    return batch_pb2.ListBatchesResponse(
        batches=[told(batch) for batch in found.batches], pagination_token=page_token(found)
    )


async def list_requests(
    call: Call, message: batch_pb2.ListBatchRequestMetadataRequest
) -> batch_pb2.ListBatchRequestMetadataResponse:
    wanted = _wanted(message.status)
    after, limit = read_token(message.pagination_token), _limit(message.limit)
    batch = await _batch(call, message.batch_id)
    overview = Overview(call.edge.store.batches, _source(call))
    if wanted is None:
        standing, mark = await overview.page(batch, after, limit)
    else:
        standing, mark = await _among(overview, batch, after, limit, wanted)
    return batch_pb2.ListBatchRequestMetadataResponse(
        batch_request_metadata=[metadata_of(each) for each in standing], pagination_token=_token(mark)
    )


async def list_results(call: Call, message: batch_pb2.ListBatchResultsRequest) -> batch_pb2.ListBatchResultsResponse:
    """A page ends early where the next result has no room in the message."""
    after, limit = read_token(message.pagination_token), _limit(message.limit)
    batch = await _batch(call, message.batch_id)
    page = await _results(call).page(batch, after, limit, _show_video(call))
    large = sum(len(each.answer or b"") for each in page.endings) > LARGE
    results = await asyncio.to_thread(results_of, page.endings) if large else results_of(page.endings)
    cut = len(results) < len(page.endings)
    mark = page.endings[len(results) - 1].mark if cut else page.mark
    return batch_pb2.ListBatchResultsResponse(
        results=results, pagination_token=_token(mark if cut or page.has_more else None)
    )


async def one_result(
    call: Call, message: batch_pb2.GetBatchRequestResultRequest
) -> batch_pb2.GetBatchRequestResultResponse:
    batch = await _batch(call, message.batch_id)
    ending = await _results(call).named(batch, message.batch_request_id, _show_video(call))
    return batch_pb2.GetBatchRequestResultResponse(request=asked_of(ending), result=result_of(ending))


async def _batch(call: Call, batch_id: str) -> Batch:
    """Raises NotFound, also for another tenant's (G8)."""
    tenant = await call.caller("read")
    return await call.edge.store.batches.get(tenant.name, batch_id)


async def _among(
    overview: Overview, batch: Batch, after: Mark, limit: int, wanted: Collection[State]
) -> tuple[list[Standing], Mark | None]:
    """Up to `limit` requests in one of these states, and the mark behind them; None at the end."""
    found, mark = list[Standing](), after
    for _ in range(MOST_LOOKED_AT // LOOKED_AT):
        standing, further = await overview.page(batch, mark, LOOKED_AT)
        for each in standing:
            if each.state in wanted:
                found.append(each)
                if len(found) == limit:
                    return found, each.mark
        if further is None:
            return found, None
        mark = further
    return found, mark


def _results(call: Call) -> Results:
    edge = call.edge
    return Results(edge.store.batches, edge.store.requests, edge.objects, _source(call))


def _source(call: Call) -> Source:
    edge = call.edge
    return Source(edge.objects, edge.videos, edge.settings.max_body_bytes)


def _show_video(call: Call) -> ShowVideo:
    edge = call.edge
    base = base_url(edge.settings)

    def show(request: Request, payload: bytes, result: Result) -> bytes:
        """A finished video is read as it would be one by one: as the message, which is bytes as the others' JSON is."""
        view = View(request, None, None, result=result)
        view.files = edge.desk.linked(request, result)
        return video_response(Seen(view, ask_of(payload), base)).SerializeToString()

    return show


def _wanted(states: Collection[int]) -> frozenset[State] | None:
    """None for all. Raises BadInput."""
    wanted: frozenset[State] = frozenset(word for word, number in STATES.items() if number in states)
    if states and not wanted:
        raise BadInput(f"status must name some of {', '.join(STATES)}.", param="status")
    return wanted or None


def _limit(asked: int) -> int:
    """How many items a page has: as many as were asked for, but never more than there may be. Raises BadInput."""
    if asked < 0:
        raise BadInput(f"limit must be a whole number from 1 to {MOST}, or 0 for {DEFAULT}.", param="limit")
    return min(asked, MOST) or DEFAULT


def _token(mark: Mark | None) -> str | None:
    return None if mark is None else write_token(mark)
