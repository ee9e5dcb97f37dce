"""/xai/v1: the surface of xAI's REST API, with its flat errors and bare ids."""

from litestar import get
from litestar import post as post_route
from litestar.types import ASGIApp

from raincheck.core.ids import new_uuid
from raincheck.http import openapi
from raincheck.http.answer import Answer
from raincheck.http.deferred import collect
from raincheck.http.edge import Call
from raincheck.http.models import all_models
from raincheck.http.posting import post

TAGS = ["xAI"]


@post_route("/xai/v1/chat/completions", operation_class=openapi.XAI_CHAT, status_code=200, tags=TAGS)
async def create_xai_completion(request: Call) -> ASGIApp:
    return await post(request, "/chat/completions", make_id=new_uuid)


@get("/xai/v1/chat/deferred-completion/{request_id:str}", operation_class=openapi.DEFERRED, tags=TAGS)
async def retrieve_xai_deferred(request: Call) -> ASGIApp:
    return await collect(request)


@get("/xai/v1/models", operation_class=openapi.MODELS, tags=TAGS)
async def list_xai_models(request: Call) -> Answer:
    return await all_models(request)
