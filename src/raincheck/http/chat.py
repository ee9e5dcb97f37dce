"""POST /v1/chat/completions: deferred or passed through, as the body or the Prefer header asks."""

from litestar import post as post_route
from litestar.types import ASGIApp

from raincheck.http.edge import Call
from raincheck.http.openapi import CHAT
from raincheck.http.posting import post


@post_route("/v1/chat/completions", operation_class=CHAT, status_code=200, tags=["OpenAI"])
async def create_completion(request: Call) -> ASGIApp:
    return await post(request, "/chat/completions")
