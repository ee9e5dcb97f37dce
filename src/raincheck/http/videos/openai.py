"""/v1/videos as OpenAI's clients use it, beside the paths that are shared."""

from litestar import get, post
from litestar.types import ASGIApp

from raincheck.core.errors import BadInput, NotEnded, NotFound
from raincheck.core.model import Attachment, Request
from raincheck.core.videos import SPRITESHEET, THUMBNAIL
from raincheck.http.answer import Answer
from raincheck.http.auth import caller
from raincheck.http.edge import Call, edge_of
from raincheck.http.media import attachment_answer
from raincheck.http.problems import problem_of_end
from raincheck.http.videos import docs
from raincheck.http.videos.creating import create
from raincheck.http.videos.ids import Dialect
from raincheck.http.videos.showing import checked, video_id
from raincheck.http.waiting import read, wait_of
from raincheck.intake.video_calls import DEFAULT_SECONDS
from raincheck.intake.videos import GENERATIONS, Given

TAGS = ["OpenAI"]
VARIANTS = {"video": None, "thumbnail": THUMBNAIL, "spritesheet": SPRITESHEET}


@post("/v1/videos", operation_class=docs.OPENAI_CREATE, status_code=200, tags=TAGS)
async def create_video(request: Call) -> Answer:
    return await create(request, GENERATIONS, Dialect.OPENAI, default_seconds=DEFAULT_SECONDS)


@post("/v1/videos/{video_id:str}/remix", operation_class=docs.REMIX, status_code=200, tags=TAGS)
async def remix_video(request: Call) -> Answer:
    given = Given(request=video_id(request))
    return await create(request, GENERATIONS, Dialect.OPENAI, video=given, like=True)


@get("/v1/videos/{video_id:str}/content", operation_class=docs.CONTENT, tags=TAGS)
async def retrieve_content(request: Call) -> ASGIApp:
    tenant = await caller(request, "read")
    variant = request.query_params.get("variant", "video")
    if variant not in VARIANTS:
        raise BadInput(f"variant must be one of {', '.join(VARIANTS)}, not {variant!r}.", param="variant")
    record = checked(await read(request, tenant, video_id(request), wait_of(request)))
    if not record.status.final:
        raise NotEnded(f"The video is {record.status} and not there yet; ask again when it is completed.")
    if (problem := problem_of_end(record)) is not None:
        return problem.answer(request.scope["path"])
    return attachment_answer(edge_of(request), await _file(request, record, variant))


async def _file(call: Call, record: Request, variant: str) -> Attachment:
    name = VARIANTS[variant]
    for each in await edge_of(call).store.requests.attachments(record.tenant, record.id):
        if each.role == "output" and (each.name == name or (name is None and each.content_type.startswith("video/"))):
            return each
    raise NotFound(f"What made {record.id} made no {variant}.")


@get(["/v1/videos/characters", "/v1/videos/characters/{name:str}"], include_in_schema=False)
async def no_characters(request: Call) -> Answer:
    await caller(request, "read")
    raise _no_characters()


@post("/v1/videos/characters", include_in_schema=False)
async def create_no_character(request: Call) -> Answer:
    await caller(request, "write")
    raise _no_characters()


def _no_characters() -> NotFound:
    return NotFound("There are no characters here; give `reference_images` to say who a video shall show.")


HANDLERS = (create_video, remix_video, retrieve_content, no_characters, create_no_character)
