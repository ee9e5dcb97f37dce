"""G9: a call that the SDK's gRPC library sends again by itself, as it does after every UNAVAILABLE, is one request."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from xai_sdk import AsyncClient
from xai_sdk.chat import user

from raincheck.core.clock import micros, now
from raincheck.http.edge import Edge
from tests.grpc.server import RunningGrpc, running_grpc
from tests.grpc.test_deferred import EAGER
from tests.scripted import HELLO


async def recorded(server: RunningGrpc) -> list[str]:
    """The ids of all requests there are."""
    return [request["id"] for request in (await server.http.get("/v1/requests")).json["data"]]


async def test_two_equal_calls_that_are_meant_stay_two(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        chat = server.client().chat.create("m", messages=[user("Hi")])

        first, second = [(await chat.defer(interval=EAGER)).id for _ in range(2)]

        assert sorted(await recorded(server)) == sorted([first, second])
        assert server.upstream.count == 2


@pytest.mark.slow("the SDK waits before it tries again")
async def test_g9_the_sdk_whose_connection_breaks_after_the_record_has_one_request_in_the_end(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server, a_proxy(server, b"drop me", cuts=3) as proxy:
        async with a_client(proxy) as client:
            response = await client.chat.create("m", messages=[user("drop me")]).defer(interval=EAGER)

        assert response.content == HELLO
        assert proxy.cut == 3
        assert await recorded(server) == [response.id]
        assert server.upstream.count == 1


@pytest.mark.slow("the SDK waits before it tries again")
async def test_a_retry_whose_first_try_never_arrived_is_a_request_of_its_own(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server, a_proxy(server, b"drop me", arrives=False) as proxy:
        async with a_client(proxy) as client:
            await client.chat.create("m", messages=[user("something else")]).defer(interval=EAGER)
            response = await client.chat.create("m", messages=[user("drop me")]).defer(interval=EAGER)

        assert response.content == HELLO
        assert proxy.cut == 1
        assert len(await recorded(server)) == server.upstream.count == 2


@pytest.mark.slow("the SDK waits before it tries again")
@pytest.mark.parametrize("streamed", [False, True], ids=["sample", "stream"])
async def test_g9_the_same_for_what_is_stored(tmp_path: Path, streamed: bool) -> None:
    async with running_grpc(tmp_path) as server, a_proxy(server, b"drop me") as proxy:
        async with a_client(proxy) as client:
            chat = client.chat.create("m", messages=[user("drop me")], store_messages=True)
            if streamed:
                seen = [response async for response, _ in chat.stream()]
                response = seen[-1]
            else:
                response = await chat.sample()

        assert response.content == HELLO
        assert proxy.cut == 1
        assert await recorded(server) == [response.id]
        assert server.upstream.count == 1


@pytest.mark.slow("the SDK waits before it tries again")
async def test_the_sdk_finds_its_way_round_a_restart(tmp_path: Path) -> None:
    """A server that is stopping says UNAVAILABLE before anything is recorded, and the SDK comes again by itself."""
    asked = list[bool]()

    def stopping() -> bool:
        asked.append(len(asked) < 2)
        return asked[-1]

    def with_stops(edge: Edge) -> Edge:
        return replace(edge, stopping=stopping)

    async with running_grpc(tmp_path, change=with_stops) as server:
        response = await server.client().chat.create("m", messages=[user("Hi")]).defer(interval=EAGER)

        assert asked[:2] == [True, True]
        assert await recorded(server) == [response.id]


@pytest.mark.slow("the SDK waits before it tries again")
@pytest.mark.parametrize(("stored", "later", "count"), [(False, 60, 1), (False, 180, 2), (True, 29 * 60, 1)])
async def test_g9_how_long_a_retry_is_recognised(tmp_path: Path, stored: bool, later: float, count: int) -> None:
    """What is answered at once, for as long as the SDK tries; what is waited for, for as long as it waits."""
    ago, stops = [later], list[bool]()

    def change(edge: Edge) -> Edge:
        # The first call is made long ago, the second now, and is sent twice.
        return replace(edge, clock=lambda: now() - micros(ago[-1]), stopping=lambda: bool(stops and stops.pop()))

    async with running_grpc(tmp_path, change=change) as server:
        for _ in range(2):
            chat = server.client().chat.create("m", messages=[user("Hi")], store_messages=stored)
            await (chat.sample() if stored else chat.defer(interval=EAGER))
            ago.append(0)
            stops.append(True)

        assert len(await recorded(server)) == count


@dataclass
class Proxy:
    """Passes connections on, and breaks those over which a word comes, a few times."""

    server: RunningGrpc
    word: bytes
    cuts: int
    """How often."""
    arrives: bool
    """Whether it breaks when the request's work has reached the upstream; else before the server hears of it."""
    cut: int = 0
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.server.port)
        answering = asyncio.create_task(self._answer(there, writer))
        try:
            while data := await reader.read(65_536):
                if self.word in data and self.cut < self.cuts:
                    self.cut += 1
                    answering.cancel()  # Nothing of the answer comes through.
                    if self.arrives:
                        back.write(data)
                        await self.server.upstream.received()
                    return
                back.write(data)
        except ConnectionError:
            pass
        finally:
            answering.cancel()
            back.close()
            writer.transport.abort()

    async def _answer(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await there.read(65_536):
            writer.write(data)


@asynccontextmanager
async def a_proxy(server: RunningGrpc, word: bytes, *, cuts: int = 1, arrives: bool = True) -> AsyncGenerator[Proxy]:
    """In front of the gRPC port."""
    proxy = Proxy(server, word, cuts, arrives)
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = listener.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listener.close()


@asynccontextmanager
async def a_client(proxy: Proxy) -> AsyncGenerator[AsyncClient]:
    client = AsyncClient(api_key="none", api_host=f"localhost:{proxy.port}")
    try:
        yield client
    finally:
        await client.close()
