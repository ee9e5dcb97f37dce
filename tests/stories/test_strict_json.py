"""What strict JSON clients need: the replies of the deferred protocol, byte for byte, from a real server."""

from pathlib import Path

import aiohttp
import pytest

from tests.client.strict_json import check_done, check_failed, check_pending, check_submit
from tests.stories.processes import Server, an_upstream, free_port


@pytest.mark.slow("starts a real server")
async def test_each_reply_is_fit_for_a_strict_parser(tmp_path: Path) -> None:
    async with an_upstream(tmp_path, delay=0.5) as upstream, aiohttp.ClientSession() as http:
        server = Server(tmp_path, upstream, free_port())
        process = await server.start()

        async def submit() -> str:
            ask = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "deferred": True}
            async with http.post(f"{server.base_url}/chat/completions", json=ask) as reply:
                check_submit(reply.status, await reply.read())
                return (await reply.json())["request_id"]

        for dialect in ("/v1", "/xai/v1"):
            id_ = await submit()
            url = f"{server.base_url.removesuffix('/v1')}{dialect}/chat/deferred-completion/{id_}"
            async with http.get(url) as reply:
                check_pending(reply.status, reply.headers, await reply.read())
            async with http.get(url, headers={"prefer": "wait=30"}) as reply:
                check_done(reply.status, await reply.read())
        cancelled = await submit()
        async with http.post(f"{server.base_url}/requests/{cancelled}/cancel") as reply:
            assert reply.status == 200
        async with http.get(f"{server.base_url}/chat/deferred-completion/{cancelled}") as reply:
            check_failed(reply.status, await reply.read())
        await process.terminate()
