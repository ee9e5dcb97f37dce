"""The methods of `xai_api.Video`: GenerateVideo, ExtendVideo and GetDeferredVideo."""

import asyncio

import msgspec

from raincheck.core.errors import NotFound
from raincheck.core.model import Request, Submitted, Tenant
from raincheck.core.operations import is_video
from raincheck.core.settings import base_url
from raincheck.core.status import Status
from raincheck.grpc.call import Call
from raincheck.grpc.edge import Edge
from raincheck.grpc.methods import Method, Methods
from raincheck.grpc.protos import deferred_pb2, video_pb2
from raincheck.grpc.recording import record
from raincheck.grpc.videos.answering import deferred_response
from raincheck.grpc.videos.asking import VideoMessage, video_body
from raincheck.intake.retrieve import View
from raincheck.intake.seen import Seen, ask_of, percent_of
from raincheck.live import Watch

HOLD = 2.0
"""Seconds that a status read waits for news: the SDK's polls cost less so, and its `video.get` is still quick."""


async def _start(call: Call, message: VideoMessage) -> deferred_pb2.StartDeferredResponse:
    """Record a video. Raises what a submit does, before anything is recorded."""
    tenant = await call.writer()
    fresh = list[str]()
    try:
        submitted = await _recorded(call, tenant, message, fresh)
    except BaseException:
        await call.edge.inbox.drop(*fresh)
        raise
    if submitted.repeated:
        await call.edge.inbox.drop(*fresh)
    return deferred_pb2.StartDeferredResponse(request_id=submitted.request.id)


async def _recorded(call: Call, tenant: Tenant, message: VideoMessage, fresh: list[str]) -> Submitted:
    """The record; `fresh` takes the blobs that are put into the object store for it."""
    url, members = await video_body(message)
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in members.items()}
    return await record(call, tenant, await call.edge.videos.submission(tenant, url, raw, fresh))


async def _get(call: Call, asked: video_pb2.GetDeferredVideoRequest) -> video_pb2.GetDeferredVideoResponse:
    """A video as it stands when there is news of it, or none for a while. Raises NotFound."""
    tenant = await call.caller("read")
    edge = call.edge
    with edge.live.follow(asked.request_id) as watch:
        watch.moved = False
        request = await edge.store.requests.get(tenant.name, asked.request_id)
        if not is_video(request.operation):
            raise NotFound(f"{request.id} is no video.")
        request = await _held(edge, watch, request, min(HOLD, call.patience))
    return deferred_response(await _seen(edge, request))


async def _held(edge: Edge, watch: Watch, request: Request, seconds: float) -> Request:
    """The record once its status or its whole percent has moved, or the time is over, or the server stops."""
    now = asyncio.get_running_loop().time
    give_up, status, percent = now() + seconds, request.status, _percent(edge, request)
    while not (request.status.final or edge.live.closed) and (left := give_up - now()) > 0:
        if await watch.news(left) and watch.moved:
            watch.moved = False
            request = await edge.store.requests.get(request.tenant, request.id)
        if request.status is not status or _percent(edge, request) != percent:
            break
    return request


def _percent(edge: Edge, request: Request) -> int:
    return percent_of((edge.live.notes(request.id) or request).progress)


async def _seen(edge: Edge, request: Request) -> Seen:
    base = base_url(edge.settings)
    if request.status is not Status.COMPLETED:
        # Its place in line, which xAI has no word for, would cost a read.
        told = (None if request.status.final else edge.live.notes(request.id)) or request
        return Seen(View(request, told.progress, told.progress_message), None, base)
    payloads = await edge.store.requests.payloads(request.tenant, [request.id])
    return Seen(await edge.desk.complete(request), ask_of(payloads.get(request.id)), base)


METHODS: Methods = {
    "/xai_api.Video/GenerateVideo": Method(video_pb2.GenerateVideoRequest, answer=_start),
    "/xai_api.Video/ExtendVideo": Method(video_pb2.ExtendVideoRequest, answer=_start),
    "/xai_api.Video/GetDeferredVideo": Method(video_pb2.GetDeferredVideoRequest, answer=_get),
}
