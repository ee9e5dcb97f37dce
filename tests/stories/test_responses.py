"""G1, G4: a response in the background, and the stream of its events, survive `kill -9`."""

from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.http.responses import life_of, streamed
from tests.scripted import ScriptedUpstream
from tests.stories.processes import Server, free_port

TEXT = "one two three"


@pytest.mark.slow("kills and restarts a server twice")
async def test_a_stream_goes_on_after_the_server_was_killed(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream:
        server = Server(tmp_path, upstream.base_url, free_port())
        process = await server.start()
        upstream.script(streamed(TEXT, ...), streamed("uno dos tres"))
        async with AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=0, timeout=60) as client:
            stream = await client.responses.create(model="m", input="Hello", background=True, stream=True)
            seen: list[Any] = [await anext(aiter(stream)) for _ in range(6)]
            await process.kill()
            with pytest.raises(openai.APIConnectionError):
                await anext(aiter(stream))
            process = await server.start()
            response_id, cursor = seen[0].response.id, seen[-1].sequence_number

            resumed = await client.responses.retrieve(response_id, stream=True, starting_after=cursor)
            rest: list[Any] = [event async for event in resumed]
            await process.kill()
            process = await server.start()
            replaying = await client.responses.retrieve(response_id, stream=True)
            replayed: list[Any] = [event async for event in replaying]
            response = await client.responses.retrieve(response_id)
        await process.terminate()

    # Other words came of the second try, so that nothing but its end goes on with those of the first.
    assert [event.type for event in rest] == ["response.completed"]
    assert [event.type for event in replayed] == [event["type"] for event in life_of("uno dos tres")]
    assert rest[-1] == replayed[-1]
    assert cursor < replayed[0].sequence_number
    assert response.output_text == replayed[-1].response.output_text == "uno dos tres"
    assert len(upstream.requests) == 2
