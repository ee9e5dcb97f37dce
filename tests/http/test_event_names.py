"""What events are called and carry, by the API through which the work came, and who is told of which."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from openai.types import webhooks as typed

from tests.http.batches import a_line, an_item, created
from tests.http.responses import a_response, life_of
from tests.http.told import an_endpoint, telling, the_secret, unwrapped
from tests.http.videos import MODEL, gate
from tests.receivers import Delivered, Receiver
from tests.scripted import error, silence, stream, text
from tests.server import Json, Running, a_chat

Way = Callable[[Running, Json], Awaitable[str]]
"""Submits something with these options of `raincheck`, brings it to an end, and says its id."""


async def post(server: Running, path: str, body: Json | None = None) -> str:
    reply = await server.post(path, body)
    assert reply.status == 200, reply.body
    return reply.json["id"]


def chat(**changes: Any) -> Way:
    return lambda server, options: server.defer(raincheck=options | changes)


def video(path: str, prompt: str) -> Way:
    return lambda server, options: post(server, path, {"model": MODEL, "prompt": prompt, "raincheck": options})


async def xai_video(server: Running, options: Json) -> str:
    reply = await server.post("/xai/v1/videos/generations", {"model": MODEL, "prompt": "A cat", "raincheck": options})
    assert reply.status == 200, reply.body
    return reply.json["request_id"]


async def response(server: Running, options: Json) -> str:
    body = {"model": "m", "input": "Hello", "background": True, "metadata": {"team": "blue"}, "raincheck": options}
    return await post(server, "/v1/responses", body)


def deferred_response(**changes: Any) -> Way:
    """Without `background`: its id is a request's."""
    body = {"model": "m", "input": "Hello", "deferred": True}
    return lambda server, options: post(server, "/v1/responses", body | {"raincheck": options | changes})


async def openai_batch(server: Running, options: Json) -> str:
    return (await created(server, [a_line("a"), a_line("b")], metadata={"run": "7"}, raincheck=options))["id"]


async def refused_batch(server: Running, options: Json) -> str:
    return (await created(server, b"this is no JSON\n", raincheck=options))["id"]


async def xai_batch(server: Running, options: Json) -> str:
    reply = await server.post("/xai/v1/batches", {"name": "nightly", "raincheck": options})
    assert reply.status == 200, reply.body
    added = await server.post(
        f"/xai/v1/batches/{reply.json['batch_id']}/requests", {"batch_requests": [an_item("a"), an_item("b")]}
    )
    assert added.status == 200, added.body
    return reply.json["batch_id"]


def scripted(way: Way, *answers: Any) -> Way:
    async def submit(server: Running, options: Json) -> str:
        server.upstream.script(*answers)
        return await way(server, options)

    return submit


def cancelled(way: Way, path: str) -> Way:
    """Cancelled while the upstream has it."""

    async def submit(server: Running, options: Json) -> str:
        server.upstream.always(silence())
        id_ = await way(server, options)
        assert (await server.post(path.format(id_))).status == 200
        server.upstream.always(None)
        return id_

    return submit


def cut_short() -> Any:
    events = life_of("one two")
    why = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    events[-1] |= {"type": "response.incomplete", "response": a_response("one two") | why}
    return stream(*events, done=False)


BY_REQUEST, BY_VIDEO, BY_RESPONSE = "/v1/requests/{}/cancel", "/v1/videos/{}/cancel", "/v1/responses/{}/cancel"
BY_OPENAI, BY_XAI = "/v1/batches/{}/cancel", "/xai/v1/batches/{}:cancel"
NATIVE, OPENAI = "/v1/videos/generations", "/v1/videos"

TEXT: dict[str, tuple[Way, str, str]] = {
    "chat": (chat(), "chat.completion.completed", "completed"),
    "chat-refused": (scripted(chat(), error(400, "no")), "chat.completion.failed", "failed"),
    "chat-cancelled": (cancelled(chat(), BY_REQUEST), "chat.completion.cancelled", "cancelled"),
    "chat-expired": (scripted(chat(expires_in=0.05), silence()), "chat.completion.expired", "expired"),
    "response": (response, "response.completed", "completed"),
    "response-cut-short": (scripted(response, cut_short()), "response.incomplete", "incomplete"),
    "response-refused": (scripted(response, error(400, "no")), "response.failed", "failed"),
    "response-cancelled": (cancelled(response, BY_RESPONSE), "response.cancelled", "cancelled"),
    "deferred-response": (deferred_response(), "response.completed", "completed"),
    "deferred-response-cut-short": (scripted(deferred_response(), cut_short()), "response.incomplete", "incomplete"),
    "deferred-response-expired": (scripted(deferred_response(expires_in=0.05), silence()), "response.failed", "failed"),
    "openai-batch": (openai_batch, "batch.completed", "completed"),
    "openai-batch-refused": (refused_batch, "batch.failed", "failed"),
    "openai-batch-cancelled": (cancelled(openai_batch, BY_OPENAI), "batch.cancelled", "cancelled"),
    "xai-batch-cancelled": (cancelled(xai_batch, BY_XAI), "batch.cancelled", "cancelled"),
}
VIDEOS: dict[str, tuple[Way, str, str]] = {
    "native-video": (video(NATIVE, "A cat"), "video.generation.completed", "completed"),
    "native-video-refused": (video(NATIVE, "refuse"), "video.generation.failed", "failed"),
    "native-video-cancelled": (cancelled(video(NATIVE, "wait"), BY_VIDEO), "video.generation.cancelled", "cancelled"),
    "xai-video": (xai_video, "video.generation.completed", "completed"),
    "openai-video": (video(OPENAI, "A cat"), "video.completed", "completed"),
    "openai-video-refused": (video(OPENAI, "refuse"), "video.failed", "failed"),
    "openai-video-cancelled": (cancelled(video(OPENAI, "wait"), BY_VIDEO), "video.failed", "failed"),
}
TYPED: dict[str, type] = {
    "batch.completed": typed.BatchCompletedWebhookEvent,
    "batch.failed": typed.BatchFailedWebhookEvent,
    "batch.cancelled": typed.BatchCancelledWebhookEvent,
    "response.completed": typed.ResponseCompletedWebhookEvent,
    "response.incomplete": typed.ResponseIncompleteWebhookEvent,
    "response.failed": typed.ResponseFailedWebhookEvent,
    "response.cancelled": typed.ResponseCancelledWebhookEvent,
}


@pytest.mark.slow("brings a dozen pieces of work to an end, or makes videos with ffmpeg")
@pytest.mark.parametrize("ways", [TEXT, VIDEOS], ids=["text", "videos"])
async def test_events_are_called_as_fits_what_was_submitted(
    tmp_path: Path, ways: dict[str, tuple[Way, str, str]]
) -> None:
    """G6: every end has its one event, told to the URL and to the endpoint under the same id."""
    async with telling(tmp_path) as server, Receiver() as receiver:
        endpoint = (await an_endpoint(server, receiver.at("/all")))["signing_secret"]
        own = await the_secret(server)
        ids: dict[str, str] = {}
        for name, (way, _, _) in ways.items():  # One after another, as they have one script.
            ids[name] = await way(server, {"webhook_url": receiver.at(f"/{name}")})
            await receiver.wait(path=f"/{name}")
        everything = {each.id: each for each in await receiver.wait(len(ways), path="/all")}

    told = {
        name: (each.type, each.data["id"], each.data["status"]) for name in ways for each in receiver.on(f"/{name}")
    }
    assert told == {name: (kind, ids[name], word) for name, (_, kind, word) in ways.items()}
    for name in ways:
        [to_url] = receiver.on(f"/{name}")
        event = unwrapped(to_url, own)
        if event.type in TYPED:
            assert type(event) is TYPED[event.type]
        assert everything[to_url.id].json == unwrapped_json(everything[to_url.id], endpoint) == to_url.json
    assert len(everything) == len(ways)


def unwrapped_json(delivered: Delivered, secret: str) -> Json:
    unwrapped(delivered, secret)
    return delivered.json


@pytest.mark.slow("runs a batch")
async def test_data_says_what_there_is_to_say_and_no_more(tmp_path: Path) -> None:
    async with telling(tmp_path) as server, Receiver() as receiver:
        server.upstream.script(error(400, "too hot", "bad_temperature"))
        failed = await chat(metadata={"user": "7"})(server, {"webhook_url": receiver.at("/failed")})
        [wrong] = await receiver.wait(path="/failed")
        done = await chat()(server, {"webhook_url": receiver.at("/done")})
        [right] = await receiver.wait(path="/done")
        batch = await openai_batch(server, {"webhook_url": receiver.at("/batch")})
        [whole] = await receiver.wait(path="/batch")
        batch_now = (await server.get(f"/v1/batches/{batch}")).json

    assert wrong.data == {
        "id": failed,
        "status": "failed",
        "operation": "chat.completion",
        "model": "m",
        "metadata": {"user": "7"},
        "error": wrong.data["error"],
    }
    assert (wrong.data["error"]["code"], wrong.data["error"]["message"]) == ("bad_temperature", "too hot")
    assert set(right.data) == {"id", "status", "operation", "model", "usage"}
    assert (right.data["id"], right.data["usage"]["total_tokens"] > 0) == (done, True)
    assert whole.data == {
        "id": batch,
        "status": "completed",
        "request_counts": whole.data["request_counts"],
        "output_file_id": batch_now["output_file_id"],
        "error_file_id": None,
        "metadata": {"run": "7"},
    }
    assert whole.data["output_file_id"]
    assert whole.data["request_counts"].items() >= {"total": 2, "completed": 2, "failed": 0}.items()
    assert whole.json["created_at"] == batch_now["completed_at"]


@pytest.mark.slow("makes a video with ffmpeg")
async def test_the_result_goes_along_where_it_was_asked_for_and_fits(tmp_path: Path) -> None:
    async with telling(tmp_path, webhook_result_bytes=4_000) as server, Receiver() as receiver:
        await an_endpoint(server, receiver.at("/thin"))
        await an_endpoint(server, receiver.at("/with"), include_result=True)
        asked = {"webhook_url": receiver.at("/asked"), "include_result": True}
        small = await chat()(server, asked)
        [mine] = await receiver.wait(path="/asked")
        result = (await server.get(f"/v1/requests/{small}/result")).json
        [thin], [thick] = await receiver.wait(path="/thin"), await receiver.wait(path="/with")

        clip = await video(NATIVE, "A cat")(server, asked)
        [_, of_video] = await receiver.wait(2, path="/asked")
        server.upstream.script(error(400, "no"))
        await chat()(server, asked)
        [_, _, of_failure] = await receiver.wait(3, path="/asked")
        large = await scripted(chat(), text("word " * 2_000))(server, asked)
        [*_, of_large] = await receiver.wait(4, path="/asked")

    assert mine.data["result"] == thick.data["result"] == result
    assert mine.data["result"]["choices"][0]["message"]["content"]
    assert "result" not in thin.data
    assert "result_omitted" not in thin.data
    assert of_video.data["id"] == clip
    # The record alone: links to files end, and each read of the video makes new ones.
    assert of_video.data["result"]["object"] == "video"
    assert of_video.data["result"]["model"]
    assert b"/media/" not in of_video.body
    assert {"result", "result_omitted"}.isdisjoint(of_failure.data)
    assert (of_large.data["id"], of_large.data["result_omitted"], "result" in of_large.data) == (
        large,
        "too_large",
        False,
    )


async def test_a_url_hears_only_of_the_ends_that_were_named(tmp_path: Path) -> None:
    async with telling(tmp_path) as server, Receiver() as receiver:
        only = {"webhook_url": receiver.at(), "webhook_events": ["failed", "cancelled"]}
        completed = await chat()(server, only)
        await server.ended(completed)
        server.upstream.script(error(400, "no"))
        failed = await chat()(server, only)
        [told] = await receiver.wait()
        deliveries = (await server.get("/v1/webhook_deliveries")).json["data"]

    assert (told.type, told.data["id"]) == ("chat.completion.failed", failed)
    assert [each["object_id"] for each in deliveries] == [failed]


async def test_headers_ask_for_the_same_as_members(tmp_path: Path) -> None:
    async with telling(tmp_path) as server, Receiver() as receiver:
        named = {
            "Raincheck_Webhook_Url": receiver.at(),
            "Raincheck_Webhook_Events": "completed,failed",
            "Raincheck_Include_Result": "true",
        }
        reply = await server.post("/v1/chat/completions", a_chat(deferred=True), **named)
        [told] = await receiver.wait()
        record = (await server.get(f"/v1/requests/{reply.json['id']}")).json

    assert told.data["result"]["object"] == "chat.completion"
    assert record["webhook_url"] == receiver.at()
    assert record["webhook_events"] == ["completed", "failed"]
    assert record["include_result"] is True


async def test_an_endpoint_hears_only_of_what_it_subscribed_to(tmp_path: Path) -> None:
    async with telling(tmp_path) as server, Receiver() as receiver:
        await an_endpoint(server, receiver.at("/failures"), "chat.completion.failed", "response.failed")
        await an_endpoint(server, receiver.at("/ends"), "*")
        done = await chat()(server, {})
        await receiver.wait(path="/ends")
        server.upstream.script(error(400, "no"), error(400, "no"))
        chat_failed, response_failed = await chat()(server, {}), await response(server, {})
        failures = await receiver.wait(2, path="/failures")
        await receiver.wait(3, path="/ends")

    assert {each.data["id"] for each in failures} == {chat_failed, response_failed}
    assert {each.data["id"] for each in receiver.on("/ends")} == {done, chat_failed, response_failed}
    assert all(each.type.rpartition(".")[2] in {"completed", "failed"} for each in receiver.on("/ends"))


@pytest.mark.slow("waits for a heartbeat, and makes a video with ffmpeg")
@pytest.mark.parametrize("path", [NATIVE, OPENAI])
async def test_who_named_them_is_told_of_the_beginning_and_of_progress(tmp_path: Path, path: str) -> None:
    family = "video" if path == OPENAI else "video.generation"
    async with telling(tmp_path, lease=1_000_000) as server, Receiver() as receiver:
        await an_endpoint(server, receiver.at("/ends"))
        await an_endpoint(server, receiver.at("/moments"), f"{family}.processing", f"{family}.progress")
        named = ["progress", "completed"]
        id_ = await video(path, "wait")(server, {"webhook_url": receiver.at("/named"), "webhook_events": named})
        [progress] = await receiver.wait(path="/named")
        await receiver.wait(2, path="/moments")
        gate.open.set()
        [_, end] = await receiver.wait(2, path="/named")
        await receiver.wait(path="/ends")

    assert (progress.type, end.type) == (f"{family}.progress", f"{family}.completed")
    assert (progress.data["id"], progress.data["progress"], progress.data["progress_message"]) == (
        id_,
        0.4,
        "frame 2 of 5",
    )
    assert [each.type for each in receiver.on("/ends")] == [f"{family}.completed"]
    assert sorted(each.type for each in receiver.on("/moments")) == [f"{family}.processing", f"{family}.progress"]
    assert len({each.id for each in receiver.received}) == 3, "one event each, whoever is told"


@pytest.mark.slow("waits between attempts")
async def test_the_beginning_is_told_of_once_however_often_it_is_tried(tmp_path: Path) -> None:
    async with telling(tmp_path) as server, Receiver() as receiver:
        server.upstream.script(error(503, retry_after="0"), error(503, retry_after="0"))
        id_ = await chat()(server, {"webhook_url": receiver.at(), "webhook_events": ["processing", "completed"]})
        told = await receiver.wait(2)
        record = await server.ended(id_)

    assert record["attempt"] == 3
    assert sorted(each.type for each in told) == ["chat.completion.completed", "chat.completion.processing"]
    assert {each.data["id"] for each in told} == {id_}


@pytest.mark.slow("runs a batch")
async def test_requests_of_a_batch_tell_nobody_but_their_batch(tmp_path: Path) -> None:
    async with telling(tmp_path) as server, Receiver() as receiver:
        await an_endpoint(server, receiver.at("/all"), "*", "chat.completion.processing")
        batch = await openai_batch(server, {"webhook_url": receiver.at("/batch")})
        await asyncio.gather(receiver.wait(path="/batch"), receiver.wait(path="/all"))
        deliveries = (await server.get("/v1/webhook_deliveries")).json["data"]

    assert {each["object_id"] for each in deliveries} == {batch}
    assert len(deliveries) == 2
