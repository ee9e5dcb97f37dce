"""/v1/videos: the native dialect, and the paths that it shares with OpenAI's and xAI's."""

from litestar import delete, get, post
from litestar.types import ASGIApp
from msgspec import json

from raincheck.core.errors import BadInput
from raincheck.core.operations import is_video
from raincheck.http.answer import Answer
from raincheck.http.auth import caller
from raincheck.http.deferred import ASK_AGAIN
from raincheck.http.edge import Call, edge_of
from raincheck.http.requests import query_of
from raincheck.http.videos import docs
from raincheck.http.videos.creating import create
from raincheck.http.videos.ids import Dialect, dialect_of
from raincheck.http.videos.showing import answer, checked, page_answer, see, video_id, video_record, written
from raincheck.http.waiting import Wait, preferred_wait, read, wait_of
from raincheck.intake.video_members import Reference, Sheet
from raincheck.intake.videos import EDITS, EXTENSIONS, GENERATIONS

TAGS = ["Videos"]
FAMILY = "video"
"""What all operations on videos begin with."""
POLL_FOR = "10"
"""Seconds that the poll of an OpenAI client is held for."""
POLL_AGAIN = ("openai-poll-after-ms", "1000")
POLL_AT_ONCE = ("openai-poll-after-ms", "100")
"""After a poll that was held: the pause is then on our side, and the end is seen when it comes."""


@post("/v1/videos/generations", operation_class=docs.GENERATE, status_code=200, tags=TAGS)
async def create_generation(request: Call) -> Answer:
    return await create(request, GENERATIONS, Dialect.NATIVE)


@post("/v1/videos/edits", operation_class=docs.EDIT, status_code=200, tags=TAGS)
async def create_edit(request: Call) -> Answer:
    return await create(request, EDITS, _speaks)


@post("/v1/videos/extensions", operation_class=docs.EXTEND, status_code=200, tags=TAGS)
async def create_extension(request: Call) -> Answer:
    return await create(request, EXTENSIONS, _speaks)


@get("/v1/videos", operation_class=docs.LIST, tags=TAGS)
async def list_videos(request: Call) -> Answer:
    tenant = await caller(request, "read")
    params = request.query_params.dict()
    operation = params.setdefault("operation", [FAMILY])[-1]
    if operation != FAMILY and not is_video(operation):
        raise BadInput(f"operation must be one of video.generation, video.edit and video.extension, not {operation!r}.")
    page = await edge_of(request).store.requests.search(tenant.name, query_of(params))
    return await page_answer(request, tenant, page)


@get("/v1/videos/{video_id:str}", operation_class=docs.RETRIEVE, tags=TAGS)
async def retrieve_video(request: Call) -> ASGIApp:
    tenant = await caller(request, "read")
    wait = _wait(request)
    record = checked(await read(request, tenant, video_id(request), wait))
    headers = list(wait.applied)
    if not record.status.final:
        match dialect_of(record.id):
            case Dialect.OPENAI:
                headers.append(POLL_AT_ONCE if wait.seconds > 0 else POLL_AGAIN)
            case Dialect.XAI:
                headers.append(ASK_AGAIN)
            case Dialect.NATIVE:
                pass
    return answer(await see(request, record), headers=headers)


@post("/v1/videos/{video_id:str}/cancel", operation_class=docs.CANCEL, status_code=200, tags=TAGS)
async def cancel_video(request: Call) -> Answer:
    tenant = await caller(request, "write")
    await video_record(request, tenant)
    record = await edge_of(request).store.requests.cancel(tenant.name, video_id(request))
    return answer(await written(request, record))


@delete("/v1/videos/{video_id:str}", operation_class=docs.DELETE, status_code=200, tags=TAGS)
async def delete_video(request: Call) -> Answer:
    tenant = await caller(request, "write")
    await video_record(request, tenant)
    await edge_of(request).store.requests.delete(tenant.name, video_id(request))
    return Answer(json.encode({"id": video_id(request), "object": "video.deleted", "deleted": True}))


def _speaks(sheet: Sheet) -> Dialect:
    """OpenAI's clients send forms, or name a video as `{"id": …}`."""
    video = sheet.body.video
    named = isinstance(video, Reference) and video.id is not None
    return Dialect.OPENAI if sheet.is_form or named else Dialect.NATIVE


def _wait(call: Call) -> Wait:
    """What the call asks for; the polls of OpenAI's clients are held without their asking."""
    wait = wait_of(call)
    headers = dict(call.scope["headers"])
    if wait.seconds > 0 or headers.get(b"x-stainless-poll-helper") != b"true":
        return wait
    return Wait(preferred_wait(POLL_FOR, headers)[1], wait.since)


HANDLERS = (
    create_generation,
    create_edit,
    create_extension,
    list_videos,
    retrieve_video,
    cancel_video,
    delete_video,
)
