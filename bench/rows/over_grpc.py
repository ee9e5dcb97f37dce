"""Submits and polls of the xai-sdk's gRPC calls per second, against a bare gRPC echo, and beside the same over HTTP."""

from base64 import b64encode
from functools import partial

import msgspec

from bench import processes
from bench.calls import DEFERRED, MODEL, SUBMIT, get
from bench.setting import Setting
from bench.stats import Row, Samples, alternate, ratio
from raincheck.grpc.protos import chat_pb2, deferred_pb2

CONNECTIONS = 16
START, GET = "/xai_api.Chat/StartDeferredCompletion", "/xai_api.Chat/GetDeferredCompletion"
ASKED = chat_pb2.GetCompletionsRequest(
    model=MODEL,
    messages=[
        chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[chat_pb2.Content(text="What is rain, in seven words?")])
    ],
)
READ = 100
"""How many different requests are polled in turn."""


def run(setting: Setting) -> list[Row]:
    return [*_submits(setting), *_polls(setting)]


def _submits(setting: Setting) -> list[Row]:
    """The upstream never answers and takes one call, so the backlog grows and nothing but submitting is measured."""
    folder, port = setting.folder, processes.free_port()
    message = ASKED.SerializeToString()
    started = deferred_pb2.StartDeferredResponse(request_id="0" * 36).SerializeToString()
    with (
        processes.upstream(folder, hold=True) as upstream,
        processes.server(
            folder,
            upstream,
            folder / "grpc-submits.db",
            max_concurrency=1,
            options=_listening(port),
        ) as server,
    ):
        return _rows(
            setting, server, port, "submits", START, [message], [SUBMIT], floor=0.25, goal=0.5, started=started
        )


def _polls(setting: Setting) -> list[Row]:
    """Polls of completed requests: each answer has the whole completion."""
    folder, port = setting.folder, processes.free_port()
    with (
        processes.upstream(folder) as upstream,
        processes.server(folder, upstream, folder / "grpc-polls.db", options=_listening(port)) as server,
    ):
        replies = [server.ask("POST", "/v1/chat/completions", DEFERRED) for _ in range(READ)]
        ids = [msgspec.json.decode(reply)["id"] for reply in replies]
        for request_id in ids:
            server.ask("GET", f"/v1/requests/{request_id}?wait=30")
        messages = [deferred_pb2.GetDeferredRequest(request_id=name).SerializeToString() for name in ids]
        reads = [get(f"/v1/chat/deferred-completion/{name}") for name in ids]
        got = chat_pb2.GetDeferredCompletionResponse(
            status=deferred_pb2.DONE,
            response=chat_pb2.GetChatCompletionResponse(
                id=ids[0],
                model=MODEL,
                outputs=[
                    chat_pb2.CompletionOutput(
                        message=chat_pb2.CompletionMessage(role=chat_pb2.ROLE_ASSISTANT, content="Water falls.")
                    )
                ],
            ),
        )
        return _rows(
            setting, server, port, "polls, done", GET, messages, reads, floor=0.4, goal=0.6, got=got.SerializeToString()
        )


def _rows(
    setting: Setting,
    server: processes.Site,
    port: int,
    what: str,
    method: str,
    messages: list[bytes],
    requests: list[bytes],
    *,
    floor: float,
    goal: float,
    started: bytes = b"",
    got: bytes = b"",
) -> list[Row]:
    options = setting.options
    with (
        processes.grpc_echo(setting.folder, started=started, got=got) as echo,
        processes.load(setting.folder) as load,
    ):

        def over_grpc(port: int, seconds: float) -> float:
            sent = [b64encode(message).decode() for message in messages]
            job = {"method": method, "messages": sent, "connections": CONNECTIONS, "seconds": seconds}
            return load.run("grpc", port=port, **job)["per_second"]

        def over_http(seconds: float) -> float:
            sent = [request.decode() for request in requests]
            job = {"requests": sent, "connections": CONNECTIONS, "seconds": seconds}
            return load.run("repeat", port=server.port, **job)["per_second"]

        ours_at_grpc = partial(over_grpc, port)
        echoed, ours = alternate(options.rounds, options.seconds, partial(over_grpc, echo.port), ours_at_grpc)
        http, beside = alternate(options.rounds, options.seconds, over_http, ours_at_grpc)
    return [
        _row(f"gRPC {what}", "bare gRPC echo", echoed, ours, floor=floor, goal=goal),
        _row(f"gRPC {what}", "the same over HTTP", http, beside),
    ]


def _row(
    what: str, against: str, baseline: Samples, ours: Samples, *, floor: float | None = None, goal: float | None = None
) -> Row:
    value = ratio(ours, baseline)
    return Row(what=what, unit="/s", against=against, baseline=baseline, ours=ours, value=value, floor=floor, goal=goal)


def _listening(port: int) -> list[str]:
    return ["--grpc-port", str(port)]
