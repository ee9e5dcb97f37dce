"""The baseline for the gRPC rows: a grpc.aio server that reads each message and answers with a fixed one.

The same versions, event loop and server options as Raincheck's own, and nothing else.
"""

from typing import Any

import grpc
import grpc.aio
import msgspec
import uvloop

from bench import child
from raincheck.grpc.protos import chat_pb2, deferred_pb2
from raincheck.grpc.server import OPTIONS


class Replies(msgspec.Struct):
    """What to answer, given by the parent on the first line."""

    started: bytes
    got: bytes


async def main() -> None:
    ears = await child.ears()
    replies = msgspec.json.decode(await ears.readline(), type=Replies)

    async def start(_: object, __: object) -> bytes:
        return replies.started

    async def get(_: object, __: object) -> bytes:
        return replies.got

    make: Any = grpc.unary_unary_rpc_method_handler
    server = grpc.aio.server(options=OPTIONS)
    methods = {
        "StartDeferredCompletion": make(start, chat_pb2.GetCompletionsRequest.FromString),
        "GetDeferredCompletion": make(get, deferred_pb2.GetDeferredRequest.FromString),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("xai_api.Chat", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    child.say(port=port)
    await ears.read()
    await server.stop(1)


if __name__ == "__main__":
    uvloop.run(main())
