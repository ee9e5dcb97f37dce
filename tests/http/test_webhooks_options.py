"""`webhook_url`, `webhook_events` and `include_result` on every way in, and how they are shown back."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import aiohttp
import msgspec
import openai
import pytest

from raincheck.app import Role
from raincheck.core.model import Request
from tests.http.batches import a_line, created
from tests.http.videos import MODEL, making_videos, post_form
from tests.http.webhooks import FAR, bearer
from tests.media import make_png
from tests.server import Json, Reply, Running, a_chat

OPTIONS: Json = {"webhook_url": FAR, "webhook_events": ["failed", "progress"], "include_result": True}
HEADERS = {
    "raincheck_webhook_url": FAR,
    "raincheck_webhook_events": "failed, progress",
    "raincheck_include_result": "true",
}
VIDEO: Json = {"prompt": "A cat", "model": MODEL}
RESPONSE: Json = {"model": "m", "input": "hi", "background": True}


async def recorded(server: Running, request_id: str) -> Request:
    return await server.edge.store.requests.get("default", request_id)


async def by_form(server: Running, fields: dict[str, str]) -> Reply:
    return await post_form(server, "/v1/videos", {"prompt": "A cat", "model": MODEL} | fields)


WAYS: dict[str, Callable[[Running], Awaitable[Reply]]] = {
    "chat": lambda server: server.post("/v1/chat/completions", a_chat(deferred=True, raincheck=OPTIONS)),
    "chat by headers": lambda server: server.post("/v1/chat/completions", a_chat(deferred=True), **HEADERS),
    "chat by the top": lambda server: server.post("/v1/chat/completions", a_chat(deferred=True, **OPTIONS)),
    "xai chat": lambda server: server.post("/xai/v1/chat/completions", a_chat(deferred=True, raincheck=OPTIONS)),
    "embeddings": lambda server: server.post(
        "/v1/embeddings", {"model": "m", "input": "x", "raincheck": OPTIONS}, prefer="respond-async"
    ),
    "embeddings by the top": lambda server: server.post(
        "/v1/embeddings", {"model": "m", "input": "x"} | OPTIONS, prefer="respond-async"
    ),
    "a response by the top": lambda server: server.post("/v1/responses", RESPONSE | OPTIONS),
    "a response": lambda server: server.post("/v1/responses", RESPONSE | {"raincheck": OPTIONS}),
    "a response by headers": lambda server: server.post("/v1/responses", RESPONSE, **HEADERS),
    "a video": lambda server: server.post("/v1/videos/generations", VIDEO | OPTIONS),
    "a video by its member": lambda server: server.post("/v1/videos/generations", VIDEO | {"raincheck": OPTIONS}),
    "a video by headers": lambda server: server.post("/v1/videos/generations", VIDEO, **HEADERS),
    "xai video": lambda server: server.post("/xai/v1/videos/generations", VIDEO | OPTIONS),
    "openai video": lambda server: server.post("/v1/videos", VIDEO | OPTIONS),
    "a form": lambda server: by_form(
        server, {"webhook_url": FAR, "webhook_events": "failed,progress", "include_result": "true"}
    ),
    "a form with brackets": lambda server: by_form(
        server,
        {"webhook_url": FAR, "webhook_events[0]": "failed", "webhook_events[1]": "progress", "include_result": "True"},
    ),
    "a form with options": lambda server: by_form(
        server,
        {
            "raincheck[webhook_url]": FAR,
            "raincheck[webhook_events][0]": "failed",
            "raincheck[webhook_events][1]": "progress",
            "raincheck[include_result]": "true",
        },
    ),
}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Running]:
    """Takes requests, and neither works on them nor tells of them."""
    async with making_videos(tmp_path, role=Role.DESK) as server:
        yield server


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_who_is_told_of_what_is_recorded_and_shown(
    desk: Running, way: Callable[[Running], Awaitable[Reply]]
) -> None:
    reply = await way(desk)
    assert reply.status in (200, 202), reply.body
    request_id = reply.json.get("request_id") or reply.json["id"]

    record = await recorded(desk, request_id)
    shown = (await desk.get(f"/v1/requests/{request_id}")).json

    assert (record.webhook_url, record.webhook_events, record.webhook_result) == (FAR, ("failed", "progress"), True)
    assert {name: shown[name] for name in OPTIONS} == OPTIONS


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_a_key_that_may_only_write_cannot_have_the_result_sent(
    desk: Running, way: Callable[[Running], Awaitable[Reply]]
) -> None:
    owner, writer = bearer(await desk.key("t")), bearer(await desk.key("t", "write"))

    async with aiohttp.ClientSession(headers=writer) as session:
        reply = await way(replace(desk, session=session))

    assert reply.status == 403
    assert b"include_result" in reply.body
    assert (await desk.get("/v1/requests", **owner)).json["data"] == []


async def test_a_key_that_may_only_write_may_have_it_told_how_it_ended(desk: Running) -> None:
    writer = bearer(await desk.key("t", "write"))
    thin = {"webhook_url": FAR, "webhook_events": ["failed"], "include_result": False}

    replies = [
        await desk.post("/v1/chat/completions", a_chat(deferred=True, raincheck=thin), **writer),
        await desk.post("/v1/videos/generations", VIDEO | thin, **writer),
    ]

    assert [reply.status for reply in replies] == [200, 200]


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/chat/completions", a_chat(deferred=True)), ("/v1/responses", RESPONSE)]
)
async def test_at_the_top_they_are_spared_the_upstream_and_the_member_wins(
    desk: Running, path: str, body: Json
) -> None:
    """Over the top, and the top over a header."""
    reply = await desk.post(
        path,
        body | OPTIONS | {"webhook_events": None, "raincheck": {"webhook_url": "https://other.example/"}},
        raincheck_include_result="false",
        raincheck_webhook_events="completed",
    )

    record = await recorded(desk, reply.json["id"])
    payload = (await desk.edge.store.requests.payloads("default", [record.id]))[record.id]
    assert record.webhook_url == "https://other.example/"
    assert (record.webhook_events, record.webhook_result) == (("completed",), True)
    assert not OPTIONS.keys() & msgspec.json.decode(payload).keys()


async def test_a_call_that_is_passed_on_keeps_what_only_looks_like_them(server: Running) -> None:
    reply = await server.post("/v1/chat/completions", a_chat(webhook_url=5, include_result="x"))

    assert reply.status == 200
    [call] = server.upstream.requests
    assert (call.json["webhook_url"], call.json["include_result"]) == (5, "x")


async def test_a_native_video_shows_them_and_the_top_wins(desk: Running) -> None:
    below: Json = {"raincheck": {"webhook_url": "https://other.example/", "webhook_events": ["completed"]}}
    reply = await desk.post("/v1/videos/generations", VIDEO | OPTIONS | below)

    video = (await desk.get(f"/v1/videos/{reply.json['id']}")).json

    assert {name: video[name] for name in OPTIONS} == OPTIONS


@pytest.mark.parametrize("extra", [OPTIONS, {"raincheck": OPTIONS}], ids=["top", "member"])
@pytest.mark.parametrize("file", [False, True], ids=["texts", "form"])
async def test_the_unmodified_client_names_them_in_its_extra_body(
    desk: Running, tmp_path: Path, extra: Json, file: bool
) -> None:
    given: dict[str, Any] = {"input_reference": make_png(tmp_path / "a.png")} if file else {}
    async with openai.AsyncOpenAI(base_url=desk.base_url, api_key="none") as client:
        with pytest.warns(DeprecationWarning, match="shut down"):
            made = await cast("Any", client).videos.create(prompt="A cat", model=MODEL, extra_body=extra, **given)

    record = await recorded(desk, made.id)
    assert (record.webhook_url, record.webhook_events, record.webhook_result) == (FAR, ("failed", "progress"), True)


async def test_g9_another_moment_or_the_result_makes_it_another_request(desk: Running) -> None:
    async def submit(**options: object) -> Reply:
        return await desk.post(
            "/v1/chat/completions", a_chat(deferred=True, raincheck={"webhook_url": FAR} | options), idempotency_key="k"
        )

    first, again = await submit(webhook_events=["failed"]), await submit(webhook_events=["failed"])
    others = [await submit(webhook_events=["completed"]), await submit(webhook_events=["failed"], include_result=True)]

    assert (again.json["id"], again.headers["idempotency-replayed"]) == (first.json["id"], "true")
    assert [reply.status for reply in others] == [409, 409]


@pytest.mark.parametrize(
    "options",
    [
        {"webhook_url": FAR, "webhook_events": ["failed", "expired"]},
        {"raincheck": {"webhook_url": FAR, "webhook_events": ["failed", "expired"]}},
    ],
)
async def test_a_batch_is_told_of_by_its_ends(desk: Running, options: Json) -> None:
    made = await created(desk, [a_line("a")], **options)
    named = await desk.post("/xai/v1/batches", {"name": "nightly"} | options)

    stored = desk.edge.store.batches
    batches = [await stored.get("default", each) for each in (made["id"], named.json["batch_id"])]

    for batch in batches:
        assert (batch.webhook_url, batch.webhook_events) == (FAR, ("failed", "expired"))
    ours = made["raincheck"]
    assert (ours["webhook_url"], ours["webhook_events"]) == (FAR, ["failed", "expired"])
