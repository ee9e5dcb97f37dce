"""Batches as xAI has them: read as strictly as the strictest of its clients do."""

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from tests.http.batches import CHAT, a_file, a_line, an_item, batching
from tests.scripted import error, text
from tests.scripted import reply as answer
from tests.server import Json, Reply, Running, a_chat, running_server


class State(msgspec.Struct, forbid_unknown_fields=True):
    num_requests: int
    num_pending: int
    num_success: int
    num_error: int
    num_cancelled: int


class Cost(msgspec.Struct, forbid_unknown_fields=True):
    total_cost_usd_ticks: int


class Batch(msgspec.Struct, forbid_unknown_fields=True):
    """Every member is required, and no other may be there."""

    batch_id: str
    name: str
    create_time: str
    expire_time: str
    expires_at: str
    cancel_time: str | None
    cancel_by_xai_message: str | None
    create_api_key_id: str
    input_file_id: str | None
    state: State
    cost_breakdown: Cost


class Batches(msgspec.Struct, forbid_unknown_fields=True):
    batches: list[Batch]
    pagination_token: str | None


class Metadata(msgspec.Struct, forbid_unknown_fields=True):
    batch_request_id: str
    endpoint: str
    model: str
    create_time: str
    finish_time: str | None
    state: str


class Overview(msgspec.Struct, forbid_unknown_fields=True):
    batch_request_metadata: list[Metadata]
    pagination_token: str | None


class Why(msgspec.Struct, forbid_unknown_fields=True):
    code: int
    message: str


class What(msgspec.Struct, forbid_unknown_fields=True):
    response: dict[str, Json] | msgspec.UnsetType = msgspec.UNSET
    error: Why | msgspec.UnsetType = msgspec.UNSET


class Result(msgspec.Struct, forbid_unknown_fields=True):
    batch_request_id: str
    batch_result: What
    error_message: str | msgspec.UnsetType = msgspec.UNSET


class Succeeded(msgspec.Struct, forbid_unknown_fields=True):
    batch_request_id: str
    response: Json


class Failed(msgspec.Struct, forbid_unknown_fields=True):
    batch_request_id: str
    error_message: str


class Results(msgspec.Struct, forbid_unknown_fields=True):
    results: list[Result]
    succeeded: list[Succeeded]
    failed: list[Failed]
    pagination_token: str | None


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with batching(tmp_path) as running:
        yield running


def read(reply: Reply) -> Batch:
    assert reply.status == 200, reply.body
    return msgspec.json.decode(reply.body, type=Batch)


async def create(server: Running, *, base: str = "/xai/v1", **members: Any) -> Batch:
    batch = read(await server.post(f"{base}/batches", {"name": "nightly", **members}))
    UUID(batch.batch_id)
    return batch


async def add(server: Running, batch: Batch, *items: Json, **headers: str) -> Batch:
    return read(await server.post(f"/xai/v1/batches/{batch.batch_id}/requests", {"batch_requests": items}, **headers))


async def add_much(server: Running, batch: Batch) -> None:
    """Add 5 requests of 300 kB each."""
    items = [an_item(f"{n}", body=a_chat("x" * 300_000)) for n in range(5)]
    url = f"{server.url}/xai/v1/batches/{batch.batch_id}/requests"
    body = BytesIO(msgspec.json.encode({"batch_requests": items}))
    async with server.session.post(url, data=body, headers={"content-type": "application/json"}) as response:
        assert response.status == 200, await response.read()


async def done(server: Running, batch: Batch) -> Batch:
    """The batch once nothing of it is pending."""
    async with asyncio.timeout(20):
        while True:
            batch = read(await server.get(f"/xai/v1/batches/{batch.batch_id}"))
            if batch.state.num_pending == 0:
                return batch
            await asyncio.sleep(0.02)


async def results(server: Running, batch: Batch, query: str = "", *, base: str = "/xai/v1") -> Results:
    reply = await server.get(f"{base}/batches/{batch.batch_id}/results{query}")
    assert reply.status == 200, reply.body
    return msgspec.json.decode(reply.body, type=Results)


async def overview(server: Running, batch: Batch, query: str = "") -> Overview:
    reply = await server.get(f"/xai/v1/batches/{batch.batch_id}/requests{query}")
    assert reply.status == 200, reply.body
    return msgspec.json.decode(reply.body, type=Overview)


async def test_requests_are_added_in_several_calls_and_their_results_listed(server: Running) -> None:
    batch = await create(server)
    assert (batch.name, batch.state.num_requests, batch.cancel_time) == ("nightly", 0, None)
    assert batch.expires_at == batch.expire_time > batch.create_time

    one = await add(server, batch, an_item("a"), an_item("b"))
    two = await add(server, batch, an_item("c"))
    assert (one.state.num_requests, two.state.num_requests) == (2, 3)

    batch = await done(server, batch)
    assert (batch.state.num_success, batch.state.num_error) == (3, 0)
    page = await results(server, batch)
    assert {each.batch_request_id for each in page.results} == {"a", "b", "c"}
    assert [each.batch_request_id for each in page.succeeded] == [each.batch_request_id for each in page.results]
    assert (page.failed, page.pagination_token) == ([], None)
    response = page.results[0].batch_result.response
    assert isinstance(response, dict)
    assert response["chat_get_completion"] == page.succeeded[0].response
    assert response["chat_get_completion"]["object"] == "chat.completion"


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("chat_get_completion", "chat_get_completion"),
        ("completion_request", "chat_get_completion"),
        ("image_generation", "image_response"),
        ("image_request", "image_response"),
        ("image_edit", "image_response"),
    ],
)
async def test_an_answer_has_the_word_that_clients_look_for(server: Running, kind: str, word: str) -> None:
    images: Json = {"created": 1, "data": [{"url": "https://i/1.png"}]}
    if word == "image_response":
        server.upstream.always(answer(images))
    batch = await create(server)
    body = a_chat("hello") if word == "chat_get_completion" else {"model": "m", "prompt": "A cat."}
    await add(server, batch, an_item("a", kind=kind, body=body))
    await done(server, batch)

    [one] = (await results(server, batch)).results
    response = one.batch_result.response
    assert isinstance(response, dict)
    assert list(response) == [word]
    assert word == "chat_get_completion" or response[word] == images


async def test_results_and_requests_are_paged_to_their_end(server: Running) -> None:
    batch = await create(server)
    await add(server, batch, *(an_item(f"{n}") for n in range(5)))
    await done(server, batch)

    seen, token, pages = list[str](), "", 0
    while True:
        page = await results(server, batch, f"?limit=2&pagination_token={token}")
        seen += [each.batch_request_id for each in page.results]
        pages += 1
        if page.pagination_token is None:
            break
        token = page.pagination_token
    assert (sorted(seen), pages) == ([f"{n}" for n in range(5)], 3)

    listed, token = list[Metadata](), ""
    while True:
        part = await overview(server, batch, f"?page_size=2&pagination_token={token}")
        listed += part.batch_request_metadata
        if part.pagination_token is None:
            break
        token = part.pagination_token
    assert [each.batch_request_id for each in listed] == [f"{n}" for n in range(5)]
    assert {(each.state, each.endpoint, each.model) for each in listed} == {("succeeded", CHAT, "m")}
    assert all(each.finish_time is not None for each in listed)


async def test_a_request_that_fails_has_a_code_and_its_words_twice(server: Running) -> None:
    server.upstream.always(error(400, "no such thing"))
    batch = await create(server)
    await add(server, batch, an_item("a"))
    batch = await done(server, batch)

    assert (batch.state.num_success, batch.state.num_error) == (0, 1)
    page = await results(server, batch)
    [one] = page.results
    assert isinstance(one.batch_result.error, Why)
    assert one.batch_result.error.code > 0
    assert "no such thing" in one.batch_result.error.message
    assert one.error_message == one.batch_result.error.message == page.failed[0].error_message
    assert page.succeeded == []
    assert (await overview(server, batch)).batch_request_metadata[0].state == "failed"


async def test_a_request_without_an_id_gets_one(server: Running) -> None:
    batch = await create(server)
    await add(server, batch, an_item(), an_item())
    await done(server, batch)

    names = [each.batch_request_id for each in (await results(server, batch)).results]
    assert len({UUID(name) for name in names}) == 2


@pytest.mark.parametrize("way", [":cancel", "/cancel"])
@pytest.mark.parametrize("base", ["/v1", "/xai/v1"])
async def test_cancelling_keeps_what_is_done_and_closes_the_batch(tmp_path: Path, way: str, base: str) -> None:
    async with batching(tmp_path, places=1) as server:
        server.upstream.script(text("yes"))
        server.upstream.always(text("no", before=asyncio.Event()))
        batch = await create(server)
        await add(server, batch, *(an_item(f"{n}") for n in range(4)))
        await server.upstream.received(2)

        cancelled = read(await server.post(f"{base}/batches/{batch.batch_id}{way}"))
        assert cancelled.cancel_time is not None
        assert cancelled.cancel_by_xai_message is None
        batch = await done(server, batch)
        assert (batch.state.num_success, batch.state.num_cancelled, batch.state.num_error) == (1, 3, 0)
        assert read(await server.post(f"{base}/batches/{batch.batch_id}{way}")).state == batch.state

        async with asyncio.timeout(10):
            while len((page := await results(server, batch)).results) < 4:
                await asyncio.sleep(0.02)
        errors = [each.batch_result.error for each in page.results if isinstance(each.batch_result.error, Why)]
        assert [each.code for each in errors] == [1, 1, 1]
        refused = await server.post(f"/v1/batches/{batch.batch_id}/requests", {"batch_requests": [an_item("z")]})
        assert (refused.status, refused.error["code"]) == (409, "batch_closed")
        assert refused.headers["x-should-retry"] == "false"


async def test_a_file_s_requests_are_counted_when_the_answer_comes_and_no_others_are_taken(server: Running) -> None:
    mixed = [a_line("a"), a_line("b", url="/v1/embeddings", body={"model": "m", "input": "x"}), an_item("c")]
    file_id = await a_file(server, mixed, purpose="user_data")
    batch = await create(server, input_file_id=file_id)

    assert (batch.state.num_requests, batch.input_file_id) == (3, file_id)
    refused = await server.post(f"/xai/v1/batches/{batch.batch_id}/requests", {"batch_requests": [an_item("z")]})
    assert refused.status == 409
    batch = await done(server, batch)
    assert batch.state.num_success == 3
    urls = {each.batch_request_id: each.endpoint for each in (await overview(server, batch)).batch_request_metadata}
    assert urls == {"a": CHAT, "b": "/v1/embeddings", "c": CHAT}


async def test_a_refused_file_ends_the_batch_with_a_reason_that_clients_look_for(server: Running) -> None:
    batch = await create(server, input_file_id=await a_file(server, b"{broken\n"))

    assert batch.cancel_time is not None
    assert batch.cancel_by_xai_message is not None
    assert batch.cancel_by_xai_message.startswith("JSONL file validation failed: line 1: ")
    assert batch.state == State(0, 0, 0, 0, 0)


async def test_on_the_shared_path_a_name_makes_it_xai_s_and_each_is_told_in_its_own_words(server: Running) -> None:
    batch = await create(server, base="/v1")
    file_id = await a_file(server, [a_line("a")])
    other = (await server.post("/v1/batches", {"endpoint": CHAT, "input_file_id": file_id, "name": "x"})).json

    assert read(await server.get(f"/v1/batches/{batch.batch_id}")).name == "nightly"
    assert other["object"] == "batch"
    listed = (await server.get("/v1/batches")).json
    assert [each["id"] for each in listed["data"]] == [other["id"]]
    assert [each["batch_id"] for each in listed["batches"]] == [batch.batch_id]
    assert (listed["object"], listed["has_more"], listed["pagination_token"]) == ("list", False, None)
    assert (listed["first_id"], listed["last_id"]) == (other["id"], other["id"])


async def test_both_dialects_page_through_their_own_on_the_shared_path(server: Running) -> None:
    theirs = [(await create(server)).batch_id for _ in range(3)]
    file_id = await a_file(server, [a_line("a")])
    ours = [
        (await server.post("/v1/batches", {"endpoint": CHAT, "input_file_id": file_id})).json["id"] for _ in range(3)
    ]

    first = (await server.get("/v1/batches?limit=2")).json
    rest = (await server.get(f"/v1/batches?limit=2&after={first['last_id']}")).json
    token = first["pagination_token"]
    their_rest = (await server.get(f"/v1/batches?limit=2&pagination_token={token}")).json
    alone = msgspec.json.decode((await server.get("/xai/v1/batches?page_size=2")).body, type=Batches)

    assert [each["id"] for each in first["data"] + rest["data"]] == ours[::-1]
    assert [each["batch_id"] for each in first["batches"] + their_rest["batches"]] == theirs[::-1]
    assert (rest["batches"], their_rest["data"], their_rest["pagination_token"]) == ([], [], None)
    assert ([each.batch_id for each in alone.batches], alone.pagination_token) == (theirs[:0:-1], token)


@pytest.mark.parametrize(
    ("items", "says"),
    [
        ([], "at least one"),
        ([an_item("a"), {"batch_request_id": "b"}], "batch_requests[1]"),
        ([an_item("a", kind="dance")], "dance"),
        ([an_item("a", body={"model": "m"})], "messages"),
        ([an_item("a", body=a_chat(model="nobody"))], "nobody"),
        ([an_item("a", body=a_chat(stream=True))], "batch_requests[0]"),
        ([an_item("a"), an_item("a")], "'a'"),
        ([an_item("x" * 257)], "custom_id"),
        ([an_item("a\0")], "custom_id"),
        (["a"], "batch_requests[0]"),
        ("a", "batch_requests"),
    ],
)
async def test_what_cannot_be_added_is_named_and_nothing_is_added(server: Running, items: Any, says: str) -> None:
    batch = await create(server)
    reply = await server.post(f"/v1/batches/{batch.batch_id}/requests", {"batch_requests": items})

    assert reply.status == 400, reply.body
    assert says in reply.error["message"]
    assert read(await server.get(f"/xai/v1/batches/{batch.batch_id}")).state.num_requests == 0


async def test_an_id_that_an_earlier_call_has_used_refuses_the_whole_call(server: Running) -> None:
    batch = await create(server)
    await add(server, batch, an_item("a"))
    reply = await server.post(
        f"/v1/batches/{batch.batch_id}/requests", {"batch_requests": [an_item("b"), an_item("a")]}
    )

    assert (reply.status, reply.error["code"]) == (400, "duplicate_custom_id")
    assert (await done(server, batch)).state.num_requests == 1


async def test_g9_adding_again_with_the_same_key_changes_nothing(server: Running) -> None:
    batch = await create(server)
    for _ in range(2):
        added = await add(server, batch, an_item("a"), an_item(), idempotency_key="k")
        assert added.state.num_requests == 2


async def test_what_is_too_much_for_the_record_lies_in_the_object_store(server: Running) -> None:
    batch = await create(server)
    await add_much(server, batch)
    [part] = await server.edge.store.batches.parts("default", batch.batch_id, limit=99)

    assert part.body.blob is not None
    assert part.body.text is None
    assert (await done(server, batch)).state.num_success == 5


async def test_without_an_object_store_requests_are_added_all_the_same(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        batch = await create(server)
        await add_much(server, batch)
        assert (await done(server, batch)).state.num_success == 5


@pytest.mark.parametrize("token", ["x", "1.2", "-1", "1.2.3.4"])
async def test_a_token_that_was_never_one_is_refused(server: Running, token: str) -> None:
    batch = await create(server)
    for what in ("results", "requests"):
        reply = await server.get(f"/xai/v1/batches/{batch.batch_id}/{what}?pagination_token={token}")
        assert reply.status == 400


@pytest.mark.parametrize("size", ["limit=0", "page_size=0", "page_size=", "limit=1001"])
async def test_a_page_of_a_size_that_none_has_is_refused(server: Running, size: str) -> None:
    batch = await create(server)
    for path in ("", f"/{batch.batch_id}/results", f"/{batch.batch_id}/requests"):
        reply = await server.get(f"/xai/v1/batches{path}?{size}")
        assert reply.status == 400, reply.body
        assert size.partition("=")[0] in reply.json["error"]


async def all_results(server: Running, batch: Batch, limit: int) -> list[Result]:
    seen, token = list[Result](), ""
    while True:
        page = await results(server, batch, f"?limit={limit}&pagination_token={token}")
        seen += page.results
        if page.pagination_token is None:
            return seen
        token = page.pagination_token


async def all_requests(server: Running, batch: Batch, limit: int) -> list[Metadata]:
    seen, token = list[Metadata](), ""
    while True:
        page = await overview(server, batch, f"?limit={limit}&pagination_token={token}")
        seen += page.batch_request_metadata
        if page.pagination_token is None:
            return seen
        token = page.pagination_token


@pytest.mark.slow("goes through a batch of 3,600 requests, most of them never fed")
@pytest.mark.parametrize("limit", [700, 1_000])
async def test_requests_that_were_never_fed_are_listed_across_the_calls_that_added_them(
    tmp_path: Path, limit: int
) -> None:
    async with batching(tmp_path, places=1) as server:
        server.upstream.script(text("yes"))
        server.upstream.always(text("no", before=asyncio.Event()))
        batch = await create(server)
        names = [f"{n}" for n in range(3_600)]
        for start in range(0, 3_600, 600):
            await add(server, batch, *(an_item(name) for name in names[start : start + 600]))
        await server.upstream.received(2)

        before = await all_requests(server, batch, limit)
        assert [each.batch_request_id for each in before] == names
        assert [each.state for each in before] == ["succeeded", *["pending"] * 3_599]

        await server.post(f"/xai/v1/batches/{batch.batch_id}:cancel")
        async with asyncio.timeout(20):
            while (record := await server.edge.store.batches.get("default", batch.batch_id)).ended_at is None:
                await asyncio.sleep(0.02)
        assert record.counts.fed < 3_600
        after = await all_requests(server, batch, limit)
        told = await all_results(server, batch, limit)

        assert [each.batch_request_id for each in after] == names
        assert [each.state for each in after] == ["succeeded", *["cancelled"] * 3_599]
        assert len(told) == 3_600
        assert {each.batch_request_id for each in told} == set(names)
