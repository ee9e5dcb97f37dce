"""Takes handlers by name, hands on what the gRPC library calls: for each of xAI's methods one that answers or says why
it does not.

A handler takes a Call and a message and returns a message, or yields some; what it raises becomes the call's status.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from raincheck.core.canonical import Canonical
from raincheck.core.errors import BadInput, BodyTooSlow, RaincheckError
from raincheck.core.ids import new_id
from raincheck.grpc.call import Call, Context
from raincheck.grpc.edge import Edge
from raincheck.grpc.problems import DETAILS, LARGEST, Ended, Problem, problem_of, result_too_large
from raincheck.intake.gate import check_size
from raincheck.intake.uploads import UPLOAD_PACE, UPLOAD_SILENCE

READ_WITHIN = 60.0
"""Seconds that a call's message may take to arrive, as long as a body has over HTTP."""
PIECE_WITHIN = UPLOAD_SILENCE + (3 << 20) / UPLOAD_PACE
"""Seconds for which none of many messages may come: the xai-sdk's pieces of 3 MiB, at the slowest pace that there may
be, after the longest silence."""


class Message(Protocol):
    """What every protobuf message can do."""

    def SerializeToString(self) -> bytes: ...  # noqa: N802 - protobuf's name
    @classmethod
    def FromString(cls, serialized: bytes, /) -> Any: ...  # noqa: N802 - protobuf's name


@dataclass(frozen=True, slots=True)
class Method:
    """How one method is answered: by exactly one of these."""

    takes: type[Message]
    answer: Callable[[Call, Any], Awaitable[Message]] | None = None
    """One message in, one out."""
    stream: Callable[[Call, Any], AsyncGenerator[Message]] | None = None
    """One in, many out."""
    gather: Callable[[Call, AsyncIterator[Any]], Awaitable[Message]] | None = None
    """Many in, one out."""


Methods = Mapping[str, Method]
"""By path, as in `/xai_api.Chat/GetCompletion`."""


class Handlers(grpc.GenericRpcHandler):
    """Finds the handler of each call.

    All are handed to the library as ones that read for themselves, so that a message is taken in only from who may
    call: nobody else can fill the memory. How many calls there are at once is bounded by nothing, as over HTTP: one
    that waits costs little, and what it asks for has limits of its own.
    """

    def __init__(self, methods: Methods, edge: Edge) -> None:
        self._edge = edge
        self._running = set[asyncio.Task[Any]]()
        self._cutting = False
        self._known = {path: self._handler(path, method) for path, method in methods.items()}
        self._names = ", ".join(sorted({path.split("/")[1].removeprefix("xai_api.") for path in methods}))

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        path = handler_call_details.method
        return self._known.get(path) or self._nothing_there(path)

    def _handler(self, path: str, method: Method) -> Any:
        async def answer(_: object, context: Context) -> bytes | None:
            call = self._call(path, context)
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - the library makes one for each call
            self._running.add(task)
            try:
                return await (self._one if method.stream is None else self._many)(method, call)
            except asyncio.CancelledError:
                if not self._cutting:
                    raise
                problem = _CUT
            except Exception as error:  # noqa: BLE001 - the last to see it: whatever went wrong is answered here
                problem = self._problem(call, error)
            finally:
                self._running.discard(task)
            return await _refuse(call, problem)

        return (_READS_ONE if method.stream is None else _READS_MANY)(answer)

    def cut(self) -> None:
        """End every call that is under way, and say so: what the library says for itself makes clients send them
        again, though a model may have worked for them."""
        self._cutting = True
        for task in self._running:
            task.cancel()

    async def _one(self, method: Method, call: Call) -> bytes:
        if method.gather is not None:
            return _fitting(await method.gather(call, _messages(call.context, method.takes)))
        assert method.answer is not None  # noqa: S101 - a method is answered in one of three ways
        return _fitting(await method.answer(call, await self._asked(method, call)))

    async def _many(self, method: Method, call: Call) -> None:
        assert method.stream is not None  # noqa: S101 - see above
        async with aclosing(method.stream(call, await self._asked(method, call))) as messages:
            async for message in messages:
                # Waits for a slow reader, so that no more than a message is held for it.
                await call.context.write(_fitting(message))

    async def _asked(self, method: Method, call: Call) -> Any:
        """The one message of a call, from someone who may call."""
        tenant = await call.caller()
        until = asyncio.get_running_loop().time() + READ_WITHIN
        if (data := await _received(call.context, until)) is None:
            raise BadInput("The call came without a message.")
        check_size(tenant, len(data))
        return _parsed(method.takes, data)

    def _nothing_there(self, path: str) -> Any:
        async def refuse(_: object, context: Context) -> bytes:
            words = (
                f"Raincheck does not serve {path.strip('/')}; over gRPC it serves {self._names} of xAI's API, and more "
                "over HTTP (/schema lists that)."
            )
            await _refuse(self._call(path, context), Problem(Canonical.UNIMPLEMENTED, words, "unimplemented"))

        return _READS_ONE(refuse)

    def _call(self, path: str, context: Context) -> Call:
        call = Call(self._edge, context, path, new_id("call"))
        # At the end of the call, where it costs nothing: anything sent ahead is a write of its own, and after one a
        # client does not try again by itself what may be tried again.
        context.set_trailing_metadata(((_NAME, call.request_id),))
        return call

    def _problem(self, call: Call, error: Exception) -> Problem:
        if isinstance(error, grpc.aio.BaseError):  # The call is over already: its caller has left.
            raise asyncio.CancelledError from error
        if not isinstance(error, RaincheckError | Ended):
            self._edge.crashed(error, call.request_id)
        return problem_of(error)


async def _refuse(call: Call, problem: Problem) -> NoReturn:
    """End the call. Not where an error is handled still: the library keeps what is raised here, in a circle, and with
    it would keep that error and the whole message it was about."""
    trailing = ((DETAILS, problem.details()), (_NAME, call.request_id))
    await call.context.abort(problem.status, problem.text, trailing)


_CUT = Problem(
    Canonical.ABORTED,
    "This server stopped before the call had its answer. What was recorded goes on after its start; all else has to be "
    "asked again.",
    "stopping",
)
# Their types say that an answer is anything but bytes.
_READS_ONE: Any = grpc.stream_unary_rpc_method_handler
_READS_MANY: Any = grpc.stream_stream_rpc_method_handler
_NAME = "x-request-id"
"""By which the log knows a call."""


async def _messages(context: Context, takes: type[Message]) -> AsyncGenerator[Any]:
    """All of them. Raises BodyTooSlow when they bring less than an upload over HTTP must."""
    clock = asyncio.get_running_loop().time
    until = clock() + PIECE_WITHIN
    while (data := await _received(context, min(until, clock() + PIECE_WITHIN))) is not None:
        until += len(data) / UPLOAD_PACE
        yield _parsed(takes, data)


async def _received(context: Context, until: float) -> bytes | None:
    """The next message as it came; None after the last."""
    try:
        async with asyncio.timeout_at(until):
            data = await context.read()
    except TimeoutError:
        raise BodyTooSlow from None
    return data if isinstance(data, bytes) else None


def _parsed(takes: type[Message], data: bytes) -> Any:
    try:
        # Tens of milliseconds for ordinary messages of any size, less than a second for the worst. A thread would be
        # no help: the library holds the interpreter meanwhile.
        return takes.FromString(data)
    except DecodeError:
        raise BadInput(f"The message cannot be read: it is no {takes.__name__}.") from None


def _fitting(message: Message) -> bytes:
    data = message.SerializeToString()
    if len(data) > LARGEST:
        raise result_too_large()
    return data
