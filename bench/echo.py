"""The baseline for the HTTP rows: a Litestar handler that reads the body and returns fixed bytes, served by uvicorn.

The same versions, event loop, parser and uvicorn options as Raincheck's own, and nothing else.
"""

import asyncio
import socket
from typing import Any, cast

import msgspec
import uvicorn
import uvloop
from litestar import Litestar, Request, Response, get, post

from bench import child


class Replies(msgspec.Struct):
    """What to answer, given by the parent on the first line."""

    posted: bytes
    got: bytes


def create_app(replies: Replies) -> Litestar:
    @post("/v1/chat/completions", status_code=200)
    async def echo(request: Request[Any, Any, Any]) -> Response[bytes]:
        await request.body()
        return Response(replies.posted, media_type="application/json")

    @get("/v1/requests/{request_id:str}")
    async def read(request_id: str) -> Response[bytes]:  # noqa: ARG001 - the parameter is what is measured
        return Response(replies.got, media_type="application/json")

    return Litestar([echo, read], openapi_config=None, logging_config=None)


async def main() -> None:
    ears = await child.ears()
    replies = msgspec.json.decode(await ears.readline(), type=Replies)
    config = uvicorn.Config(
        cast("Any", create_app(replies)),
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
        backlog=4096,
    )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(2048)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        child.say(port=listener.getsockname()[1])
        await asyncio.wait({serving, asyncio.create_task(ears.read())}, return_when="FIRST_COMPLETED")
        server.should_exit = True
        await serving


if __name__ == "__main__":
    uvloop.run(main())
