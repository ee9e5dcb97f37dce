"""Takes a message that adds requests to a batch, hands on the body that the same call has over HTTP: from there on its
lines are understood and kept as those are."""

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec

from raincheck.core.errors import BadInput, NotFound, RaincheckError, TooLarge
from raincheck.core.model import Tenant
from raincheck.grpc.batches.images import image_body
from raincheck.grpc.call import Call
from raincheck.grpc.chat.asking import chat_body
from raincheck.grpc.chat.bounds import check_extent
from raincheck.grpc.edge import Edge
from raincheck.grpc.protos import batch_pb2
from raincheck.grpc.videos.asking import video_body
from raincheck.intake.batches.adding import NAME, check_count

AT_A_TIME = 16
"""Requests that are turned into JSON before others get their turn."""
_AROUND = 2_048
"""Bytes of a line that are not its body: an id, a path."""


async def added_body(call: Call, tenant: Tenant, message: batch_pb2.AddBatchRequestsRequest) -> bytes:
    """The body, as large as one over HTTP may be, with all files in it that it names. Raises BadInput, what reading
    any of its requests does, and says which it was; TooLarge."""
    check_count(len(message.batch_requests))
    items, most, sizes = list[bytes](), call.edge.settings.max_body_bytes, dict[str, int]()
    left = most
    for number, request in enumerate(message.batch_requests):
        try:
            # What is known to have no room is not read.
            if await _size_of_files(request, sizes, tenant, call.edge) <= left:
                items.append(await _item(call, tenant, request))
                left -= len(items[-1]) + 1
            else:
                left = -1
        except RaincheckError as error:
            raise _at(number, error) from None
        if left < 0:
            raise TooLarge(
                f"With the files that it names, {NAME} comes to more than {most} bytes (`server.max_body`); add its "
                "requests with several calls.",
                param=NAME,
            )
        if number % AT_A_TIME == AT_A_TIME - 1:
            await asyncio.sleep(0)
    return b'{"%b":[%b]}' % (NAME.encode(), b",".join(items))


async def _size_of_files(request: batch_pb2.BatchRequest, sizes: dict[str, int], tenant: Tenant, edge: Edge) -> int:
    """Bytes of the uploaded files that go along; `sizes` are those that were looked up before. Raises BadInput."""
    size = 0
    for file_id in _files(request):
        if file_id not in sizes:
            try:
                sizes[file_id] = (await edge.store.files.get(tenant.name, file_id)).size
            except NotFound:  # Whoever reads it says so.
                break
        size += sizes[file_id]
    return size


def _files(request: batch_pb2.BatchRequest) -> Iterator[str]:
    """Their ids, each as often as it is named."""
    chat, image = request.completion_request, request.image_request
    check_extent(chat)
    parts = (part for message in chat.messages for part in message.content)
    named = (part.image_url.file_id or part.file.file_id for part in parts)
    yield from filter(None, named)
    yield from filter(None, (picture.file_id for picture in (image.image, *image.images)))


async def _item(call: Call, tenant: Tenant, request: batch_pb2.BatchRequest) -> bytes:
    """One request in the form of OpenAI's batch files; without an id of its own it gets one later."""
    url, body = await _call(call, tenant, request)
    if len(body) > (most := call.edge.settings.max_body_bytes - _AROUND):
        raise TooLarge(f"With the files that it names it comes to {len(body)} bytes; {most} can be worked on.")
    named = {"custom_id": request.batch_request_id} if request.batch_request_id else {}
    return msgspec.json.encode({**named, "url": url, "body": msgspec.Raw(body)})


async def _call(call: Call, tenant: Tenant, request: batch_pb2.BatchRequest) -> tuple[str, bytes]:
    match request.WhichOneof("request"):
        case "completion_request":
            return "/v1/chat/completions", await chat_body(call, tenant, request.completion_request)
        case "image_request":
            return _encoded(*await image_body(call, request.image_request))
        case "video_request":
            return _encoded(*await video_body(request.video_request))
        case "video_extension_request":
            return _encoded(*await video_body(request.video_extension_request))
        case _:
            raise BadInput(
                "it asks for nothing that is known here: set one of completion_request, image_request, video_request "
                "and video_extension_request."
            )


def _encoded(url: str, members: dict[str, Any]) -> tuple[str, bytes]:
    return url, msgspec.json.encode(members)


def _at(number: int, error: RaincheckError) -> RaincheckError:
    """The same error, which says of which request it is."""
    where = f"{NAME}[{number}]"
    param = f"{where}.{error.param}" if error.param else where
    return type(error)(f"{where}: {error.message}", param=param, retry_after=error.retry_after)
