"""The unmodified xai-sdk against your own server: all that it can do here, first blocking, then with asyncio.

    python -m tests.able --port 8499        # stands in for a model that calls tools; yours will do as well
    raincheck serve --grpc-port 50051 --config examples/xai/raincheck.toml
    python examples/xai/tour.py             # where xai-sdk and raincheck are installed

What it asks is told by its arguments (MODEL VIDEO_MODEL), where by RAINCHECK_GRPC (default: localhost:50051),
RAINCHECK_BASE_URL and RAINCHECK_API_KEY. The questions `fail` and `never end` mean something to the stand-in alone.
"""

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Literal

import grpc
from pydantic import BaseModel
from xai_sdk import AsyncClient, Client
from xai_sdk.chat import system, tool, tool_result, user
from xai_sdk.proto import deferred_pb2

from raincheck import Raincheck

HOST = os.environ.get("RAINCHECK_GRPC", "localhost:50051")
KEY = os.environ.get("RAINCHECK_API_KEY", "none")  # The SDK wants a key, also where the server wants none.
SOON = timedelta(seconds=60)


class Weather(BaseModel):
    city: str
    degrees: int
    sky: Literal["clear", "cloudy", "rain"]


FORECAST = tool("forecast", "The weather of a city", {"type": "object", "properties": {"city": {"type": "string"}}})


def blocking(model: str, video_model: str) -> None:
    client = Client(api_key=KEY, api_host=HOST)
    print("key:", client.auth.get_api_key_info().name)
    print("models:", [each.name for each in client.models.list_language_models()])

    chat = client.chat.create(model, messages=[system("Be brief."), user("What is rain?")])
    print("sample:", chat.sample().content)
    print("stream:", "".join(chunk.content for _, chunk in chat.stream()))
    response = chat.defer(timeout=SOON)
    print("deferred:", response.content, response.finish_reason, response.usage.total_tokens)
    print("two at once:", [each.content for each in chat.defer_batch(2, timeout=SOON)])

    chat = client.chat.create(model, messages=[user("How is the weather in Lisbon?")], tools=[FORECAST])
    response = chat.defer(timeout=SOON)
    [call] = response.tool_calls
    print("calls:", call.function.name, json.loads(call.function.arguments))
    chat.append(response).append(tool_result('{"degrees": 21}', tool_call_id=call.id))
    print("answers:", chat.sample().content)
    _, weather = client.chat.create(model, messages=[user("Lisbon today")]).parse(Weather)
    print("structured:", repr(weather))

    failing = client.chat.create(model, messages=[user("fail")])
    print("failed:", refused(lambda: failing.defer(timeout=SOON)))
    endless = client.chat.create(model, messages=[user("never end")])
    threading.Timer(1, cancel_what_runs).start()
    print("cancelled:", refused(lambda: endless.defer(timeout=SOON)))
    stranger = Client(api_key="rc_wrong", api_host=HOST)
    print("wrong key:", refused(stranger.models.list_language_models))

    client.close()
    stranger.close()
    with Client(api_key=KEY, api_host=HOST) as client:
        videos(client, video_model)
        batches(client, model)


def videos(client: Client, model: str) -> None:
    started = client.video.start("A lighthouse at dusk", model, duration=1, resolution="480p")
    while (seen := client.video.get(started.request_id)).status == deferred_pb2.PENDING:
        print(f"\rvideo: {seen.response.progress} %", end="", flush=True)
        time.sleep(0.2)
    print("\rvideo:", seen.response.video.duration, "s", seen.response.video.url)
    clip = client.video.generate("A paper boat in the rain", model, duration=1, resolution="480p", timeout=SOON)
    longer = client.video.extend("It sails on", model, video_url=clip.url, duration=2, timeout=SOON)
    print("extended:", clip.duration, "s to", longer.duration, "s")


def batches(client: Client, model: str) -> None:
    questions = ["What is rain?", "What is fog?", "fail"]
    batch = client.batch.create("tour")
    client.batch.add(
        batch.batch_id,
        [client.chat.create(model, batch_request_id=text, messages=[user(text)]) for text in questions],
    )
    while (batch := client.batch.get(batch.batch_id)).state.num_pending:
        time.sleep(0.2)
    listed = client.batch.list_batch_requests(batch.batch_id).batch_request_metadata
    print("batch:", sorted(each.batch_request_id for each in listed), batch.state.num_success, batch.state.num_error)
    results = client.batch.list_batch_results(batch.batch_id)
    print("succeeded:", {each.batch_request_id: each.response.content for each in results.succeeded})
    print("failed:", {each.batch_request_id: each.error_message for each in results.failed})

    lines = [{"model": model, "messages": [{"role": "user", "content": text}]} for text in questions[:2]]
    url = "/v1/chat/completions"
    text = [json.dumps({"custom_id": str(at), "method": "POST", "url": url, "body": b}) for at, b in enumerate(lines)]
    file = client.files.upload("\n".join(text).encode(), filename="tour.jsonl")
    batch = client.batch.create("from a file", input_file_id=file.id)
    print("file:", file.filename, file.size, "bytes,", batch.state.num_requests, "requests")
    open_batch = client.batch.create("to be cancelled")
    client.batch.add(open_batch.batch_id, [client.chat.create(model, messages=[user("never end")])])
    print("cancelled:", client.batch.cancel(open_batch.batch_id).state.num_cancelled)
    print("files:", len(client.files.list().data), client.files.delete(file.id).deleted)


async def asynchronous(model: str, video_model: str) -> None:
    async with AsyncClient(api_key=KEY, api_host=HOST) as client:
        chats = [client.chat.create(model, messages=[user(f"What is {what}?")]) for what in ("rain", "fog", "snow")]
        answers = await asyncio.gather(*(chat.defer(timeout=SOON) for chat in chats))
        print("three at once:", [answer.content for answer in answers])
        print("stream:", "".join([chunk.content async for _, chunk in chats[0].stream()]))
        print("structured:", repr((await chats[1].parse(Weather))[1]))
        clips = [
            client.video.generate(f"{n} kites", video_model, duration=1, resolution="480p") for n in ("Two", "Six")
        ]
        print("two videos:", [clip.url for clip in await asyncio.gather(*clips)])
        try:
            await client.chat.create(model, messages=[user("fail")]).defer(timeout=SOON)
        except grpc.aio.AioRpcError as error:
            print("failed:", error.code().name, error.details())
        print("batches:", [batch.name for batch in (await client.batch.list()).batches])
        print("models:", [each.name for each in await client.models.list_language_models()])


def cancel_what_runs() -> None:
    """The SDK cannot cancel: that takes Raincheck's own client, its command line, or one HTTP call."""
    with Raincheck() as client:
        for request in client.requests.list(status="processing"):
            client.requests.cancel(request.id)


def refused(call: Callable[[], object]) -> str:
    """How a call that must fail does so."""
    try:
        call()
    except grpc.RpcError as error:
        return f"{error.code().name} {error.details()}"
    return "it was not refused"  # As by a server without any API key, which takes every key.


def main(arguments: Sequence[str]) -> None:
    model, video_model = (*arguments, *("able", "preview")[len(arguments) :])
    blocking(model, video_model)
    asyncio.run(asynchronous(model, video_model))


if __name__ == "__main__":
    main(sys.argv[1:])
