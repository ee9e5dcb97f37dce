"""/xai/v1/videos: videos as xAI's REST API has them."""

from litestar import get, post

from raincheck.http.answer import Answer
from raincheck.http.auth import caller
from raincheck.http.deferred import ASK_AGAIN
from raincheck.http.edge import Call, edge_of
from raincheck.http.videos import docs
from raincheck.http.videos.creating import create
from raincheck.http.videos.ids import Dialect
from raincheck.http.videos.showing import answer, checked, see, video_id, video_record, written
from raincheck.http.waiting import read, wait_of
from raincheck.intake.videos import EDITS, EXTENSIONS, GENERATIONS

TAGS = ["xAI"]


@post("/xai/v1/videos/generations", operation_class=docs.XAI_GENERATE, status_code=200, tags=TAGS)
async def create_xai_generation(request: Call) -> Answer:
    return await create(request, GENERATIONS, Dialect.XAI)


@post("/xai/v1/videos/edits", operation_class=docs.XAI_EDIT, status_code=200, tags=TAGS)
async def create_xai_edit(request: Call) -> Answer:
    return await create(request, EDITS, Dialect.XAI)


@post("/xai/v1/videos/extensions", operation_class=docs.XAI_EXTEND, status_code=200, tags=TAGS)
async def create_xai_extension(request: Call) -> Answer:
    return await create(request, EXTENSIONS, Dialect.XAI)


@get("/xai/v1/videos/{video_id:str}", operation_class=docs.XAI_RETRIEVE, tags=TAGS)
async def retrieve_xai_video(request: Call) -> Answer:
    tenant = await caller(request, "read")
    wait = wait_of(request)
    record = checked(await read(request, tenant, video_id(request), wait))
    again = () if record.status.final else (ASK_AGAIN,)
    return answer(await see(request, record), dialect=Dialect.XAI, headers=(*again, *wait.applied))


@post("/xai/v1/videos/{video_id:str}/cancel", operation_class=docs.XAI_CANCEL, status_code=200, tags=TAGS)
async def cancel_xai_video(request: Call) -> Answer:
    tenant = await caller(request, "write")
    await video_record(request, tenant)
    record = await edge_of(request).store.requests.cancel(tenant.name, video_id(request))
    return answer(await written(request, record), dialect=Dialect.XAI)


HANDLERS = (create_xai_generation, create_xai_edit, create_xai_extension, retrieve_xai_video, cancel_xai_video)
