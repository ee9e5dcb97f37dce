"""Any other JSON POST below /v1: deferred when `Prefer: respond-async` asks for it, else passed to the upstream."""

from litestar import get
from litestar import post as post_route
from litestar.types import ASGIApp

from raincheck.core.errors import NotFound
from raincheck.http.answer import Answer
from raincheck.http.edge import Call
from raincheck.http.openapi import PASSTHROUGH
from raincheck.http.posting import post

OWN = ("/batches/", "/videos/", "/files/", "/requests/", "/webhook_")
"""Below these, what is not known is unknown: no upstream is asked in this way."""


# The second path is there because the router, once below a known folder, does not step back out of it.
@post_route(["/v1/{path:path}", "/v1/chat/{path:path}"], operation_class=PASSTHROUGH, status_code=200, tags=["OpenAI"])
async def pass_on(request: Call) -> ASGIApp:
    path = request.scope["path"].removeprefix("/v1")
    if path.startswith(OWN):
        raise NotFound(f"There is nothing to POST to at {request.scope['path']}; /schema lists what there is.")
    return await post(request, path)


@get(["/v1/{path:path}", "/v1/chat/{path:path}"], include_in_schema=False)
async def nothing_there(request: Call) -> Answer:
    raise NotFound(f"There is nothing to GET at {request.scope['path']}; /schema lists what there is.")
