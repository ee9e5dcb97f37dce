"""Batches in our own words: results as they end, estimates, and what is refused."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from raincheck.core.model import Limits
from tests.http.batches import CHAT, a_file, a_line, an_item, batching, created, ended, jsonl, lines_of
from tests.scripted import error, reply, text
from tests.server import Json, Running, running_server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with batching(tmp_path) as running:
        yield running


async def results(server: Running, batch_id: str, query: str = "") -> Json:
    answer = await server.get(f"/v1/batches/{batch_id}/results{query}")
    assert answer.status == 200, answer.body
    return answer.json


async def all_results(server: Running, batch_id: str, limit: int = 2) -> list[Json]:
    """What a reader sees who goes on from `last` until there is no more."""
    seen, after = list[Json](), 0
    while True:
        page = await results(server, batch_id, f"?after={after}&limit={limit}")
        seen += page["data"]
        after = page["last"]
        if not page["has_more"]:
            return seen


async def test_results_are_read_in_the_order_in_which_lines_end(server: Running) -> None:
    batch = await created(server, [a_line(f"{n}") for n in range(5)])
    await ended(server, batch["id"])

    seen = await all_results(server, batch["id"])

    assert [each["ended"] for each in seen] == [1, 2, 3, 4, 5]
    assert sorted(each["custom_id"] for each in seen) == [f"{n}" for n in range(5)]
    assert {each["line"] for each in seen} == {1, 2, 3, 4, 5}
    one = seen[0]
    assert set(one) == {"id", "custom_id", "line", "ended", "mark", "response", "error"}
    assert [each["mark"] for each in seen] == [1, 2, 3, 4, 5]
    assert (one["error"], one["response"]["status_code"]) == (None, 200)
    assert one["response"]["body"]["object"] == "chat.completion"
    assert one["id"].startswith("batch_req_")
    page = await results(server, batch["id"], "?after=5")
    assert (page["object"], page["data"], page["last"], page["has_more"]) == ("list", [], 5, False)
    assert page["batch"]["status"] == "completed"


async def test_a_reader_who_waits_is_answered_when_a_line_has_ended(tmp_path: Path) -> None:
    async with batching(tmp_path, places=1) as server:
        go = asyncio.Event()
        server.upstream.always(text("yes", before=go))
        batch = await created(server, [a_line("a")])
        nothing = await results(server, batch["id"])
        waiting = asyncio.create_task(results(server, batch["id"], "?wait=20"))
        await server.upstream.received()
        go.set()

        assert (nothing["data"], nothing["has_more"]) == ([], False)
        assert [each["custom_id"] for each in (await waiting)["data"]] == ["a"]


@pytest.mark.slow("goes through a batch of 3,000 lines, most of them never fed")
async def test_lines_that_were_never_fed_come_last_and_are_all_there(tmp_path: Path) -> None:
    async with batching(tmp_path, places=1) as server:
        server.upstream.script(text("yes"))
        server.upstream.always(text("no", before=asyncio.Event()))
        # A blank line has a number, too.
        batch = await created(server, b"\n" + jsonl([a_line(f"{n}") for n in range(3_000)]))
        await server.upstream.received(2)
        await server.post(f"/v1/batches/{batch['id']}/cancel")
        batch = await ended(server, batch["id"])
        assert batch["raincheck"]["fed"] < 3_000

        seen = await all_results(server, batch["id"], 1_000)

        assert batch["request_counts"] == {
            "total": 3_000,
            "completed": 1,
            "failed": 0,
            "cancelled": 2_999,
            "expired": 0,
        }
        assert sorted(each["line"] for each in seen) == list(range(2, 3_002))
        assert {each["custom_id"] for each in seen} == {f"{n}" for n in range(3_000)}
        tail = seen[batch["raincheck"]["fed"] :]
        assert [each["line"] for each in tail] == sorted(each["line"] for each in tail)
        assert {each["error"]["code"] for each in tail} == {"batch_cancelled"}
        assert {each["ended"] for each in tail} == {None}
        for place in (batch["raincheck"]["fed"] - 1, -1_500, -2, -1):
            behind = (await results(server, batch["id"], f"?after={seen[place]['mark']}&limit=3"))["data"]
            assert behind == (seen[place + 1 :] if place != -1 else [])[:3]
        files = await lines_of(server, batch["output_file_id"]) + await lines_of(server, batch["error_file_id"])
        by_name = {each["custom_id"]: each for each in files}
        assert len(files) == 3_000
        assert all(by_name[each["custom_id"]]["id"] == each["id"] for each in seen)


async def test_a_large_answer_stands_in_the_results_and_cuts_a_page(tmp_path: Path) -> None:
    large: Json = {"id": "x", "object": "chat.completion", "choices": [], "pad": "x" * (3 << 20)}
    async with batching(tmp_path) as server:
        server.upstream.always(reply(large))
        url, body = "/v1/embeddings", {"model": "m", "input": "x"}
        batch = await created(server, [a_line(f"{n}", url=url, body=body) for n in range(4)], endpoint=url)
        await ended(server, batch["id"])

        page = await results(server, batch["id"], "?limit=100")

        assert page["has_more"]
        assert page["data"][0]["response"]["body"] == large
        assert len(await all_results(server, batch["id"], 100)) == 4


async def test_a_batch_is_waited_for(server: Running) -> None:
    batch = await created(server, [a_line("a")])
    answer = await server.get(f"/v1/batches/{batch['id']}", prefer="wait=20")

    assert answer.json["status"] == "completed"
    assert answer.headers["preference-applied"] == "wait=20"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"endpoint": None}, "endpoint"),
        ({"endpoint": "/v1/files"}, "endpoint"),
        ({"endpoint": "/v1/webhook_endpoints"}, "endpoint"),
        ({"endpoint": "chat"}, "endpoint"),
        ({"input_file_id": None}, "input_file_id"),
        ({"input_file_id": 5}, "input_file_id"),
        ({"completion_window": "soon"}, "completion_window"),
        ({"completion_window": "1s"}, "completion_window"),
        ({"completion_window": "31d"}, "completion_window"),
        ({"completion_window": ""}, "completion_window"),
        ({"completion_window": "١h"}, "completion_window"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {f"{n}": "" for n in range(17)}}, "metadata"),
        ({"output_expires_after": {"anchor": "ended_at", "seconds": 5}}, "output_expires_after"),
        ({"output_expires_after": {"anchor": "created_at"}}, "output_expires_after"),
        ({"output_expires_after": {"seconds": -1}}, "output_expires_after"),
        ({"output_expires_after": {"seconds": 10**30}}, "output_expires_after"),
        ({"webhook_url": "ftp://x"}, "webhook_url"),
        ({"webhook_url": "https://127.0.0.1/"}, "webhook_url"),
        ({"webhook_events": ["progress"]}, "webhook_events"),
        ({"raincheck": {"webhook_events": ["done"]}}, "webhook_events"),
        ({"raincheck": {"include_result": True}}, "include_result"),
        ({"raincheck": {"not_before": 5}}, "not_before"),
        ({"raincheck": {"tempo": 5}}, "raincheck"),
        ({"name": "x" * 300}, "name"),
    ],
)
async def test_a_wrong_member_is_named(server: Running, change: Json, param: str) -> None:
    asked = {"endpoint": CHAT, "input_file_id": await a_file(server, [a_line("a")]), "completion_window": "24h"}
    answer = await server.post("/v1/batches", asked | change)

    assert (answer.status, answer.error["param"]) == (400, param), answer.body
    assert (await server.get("/v1/batches")).json["data"] == []


@pytest.mark.parametrize("window", ["24h", "1h", "7d", "90m", "60s"])
async def test_any_length_of_time_is_a_window(server: Running, window: str) -> None:
    batch = await created(server, [a_line("a")], completion_window=window)
    seconds = {"24h": 86_400, "1h": 3_600, "7d": 604_800, "90m": 5_400, "60s": 60}[window]

    assert (batch["completion_window"], batch["expires_at"] - batch["created_at"]) == (window, seconds)


async def test_a_file_that_can_be_no_input_is_refused(server: Running) -> None:
    for file_id, status, says in (
        (await a_file(server, b"x", purpose="vision"), 400, "purpose"),
        (await a_file(server, b""), 400, "empty"),
        ("file_none", 404, "file_none"),
    ):
        answer = await server.post("/v1/batches", {"endpoint": CHAT, "input_file_id": file_id})
        assert (answer.status, answer.error["param"]) == (status, "input_file_id")
        assert says in answer.error["message"]


async def test_a_batch_goes_on_without_its_file(tmp_path: Path) -> None:
    async with batching(tmp_path, places=1) as server:
        go = asyncio.Event()
        server.upstream.always(text("yes", before=go))
        batch = await created(server, [a_line(f"{n}") for n in range(3)])
        await server.call("DELETE", f"/v1/files/{batch['input_file_id']}")
        go.set()

        batch = await ended(server, batch["id"])

        assert (batch["status"], batch["request_counts"]["completed"]) == ("completed", 3)


async def test_g9_a_batch_is_made_once_for_one_key_and_for_a_client_s_own_retry(server: Running) -> None:
    asked: Json = {"endpoint": CHAT, "input_file_id": await a_file(server, [a_line("a")])}
    one, two = [await server.post("/v1/batches", asked, idempotency_key="k") for _ in range(2)]
    other = await server.post("/v1/batches", asked | {"completion_window": "1h"}, idempotency_key="k")
    three = await server.post("/v1/batches", asked, x_stainless_retry_count="0")
    four = await server.post("/v1/batches", asked, x_stainless_retry_count="1")

    assert one.json["id"] == two.json["id"]
    assert two.headers["idempotency-replayed"] == "true"
    assert (other.status, other.error["code"]) == (409, "idempotency_conflict")
    assert three.json["id"] == four.json["id"] != one.json["id"]


async def test_a_batch_is_found_again_by_its_key_when_its_file_is_gone(server: Running) -> None:
    """G9."""
    file_id = await a_file(server, [a_line("a")])
    asked: Json = {"endpoint": CHAT, "input_file_id": file_id}
    named = await server.post("/v1/batches", asked, idempotency_key="k")
    unnamed = await server.post("/v1/batches", asked, x_stainless_retry_count="0")
    await server.call("DELETE", f"/v1/files/{file_id}")
    again = await server.post("/v1/batches", asked, idempotency_key="k")
    retried = await server.post("/v1/batches", asked, x_stainless_retry_count="1")
    differs = await server.post("/v1/batches", asked | {"completion_window": "1h"}, idempotency_key="k")
    other = await server.post("/v1/batches", asked, idempotency_key="other")

    assert (again.status, again.json["id"]) == (200, named.json["id"]), again.body
    assert again.headers["idempotency-replayed"] == "true"
    assert (retried.status, retried.json["id"]) == (200, unnamed.json["id"])
    assert (differs.status, differs.error["code"]) == (409, "idempotency_conflict")
    assert (other.status, other.error["param"]) == (404, "input_file_id")


async def test_a_row_is_deleted_after_its_batch_and_is_told_so_before(tmp_path: Path) -> None:
    async with batching(tmp_path, places=1) as server:
        go = asyncio.Event()
        server.upstream.script(text("yes"))
        server.upstream.always(text("yes", before=go))
        batch = await created(server, [a_line("a"), a_line("b")])
        [row] = (await results(server, batch["id"], "?wait=20"))["data"]
        early = await server.call("DELETE", f"/v1/requests/{row['id']}")
        go.set()
        await ended(server, batch["id"])

        assert (early.status, early.error["code"]) == (409, "not_ended")
        assert "batch that has not ended" in early.error["message"]
        assert (await server.call("DELETE", f"/v1/requests/{row['id']}")).status == 200


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/v1/batches?limit=0", "limit"),
        ("/v1/batches?page_size=0", "page_size"),
        ("/v1/batches?page_size=", "page_size"),
        ("/v1/batches?after=", "after"),
        ("/v1/batches/{id}/results?limit=0", "limit"),
        ("/v1/batches/{id}/results?page_size=0", "page_size"),
        ("/v1/batches/{id}/results?limit=1001", "limit"),
        ("/v1/batches/{id}/results?after=", "after"),
        ("/v1/batches/{id}/results?after=x", "after"),
        ("/v1/batches/{id}/requests?page_size=0", "page_size"),
        ("/v1/files?after=", "after"),
        ("/v1/requests?after=", "after"),
    ],
)
async def test_a_page_of_nothing_and_behind_nothing_is_refused(server: Running, path: str, param: str) -> None:
    batch = await created(server, [a_line("a")])
    answer = await server.get(path.replace("{id}", batch["id"]))

    assert (answer.status, answer.error["param"]) == (400, param), answer.body


async def test_g8_another_tenant_s_batch_and_file_are_unknown(tmp_path: Path) -> None:
    async with batching(tmp_path) as server:
        mine, theirs = await server.key("mine"), await server.key("theirs")
        file_id = await a_file(server, [a_line("a")], key=mine)
        as_me, as_them = ({"authorization": f"Bearer {key}"} for key in (mine, theirs))
        asked = {"endpoint": CHAT, "input_file_id": file_id}
        batch_id = (await server.post("/v1/batches", asked, **as_me)).json["id"]
        xai_id = (await server.post("/xai/v1/batches", {"name": "x"}, **as_me)).json["batch_id"]

        assert (await server.post("/v1/batches", asked, **as_them)).status == 404
        for name in (batch_id, xai_id):
            for method, path, body in (
                ("GET", "", None),
                ("GET", "/requests", None),
                ("GET", "/results", None),
                ("POST", "/cancel", b"{}"),
                ("POST", ":cancel", b"{}"),
                ("POST", "/requests", b'{"batch_requests":[]}'),
            ):
                answer = await server.call(method, f"/v1/batches/{name}{path}", body, as_them)
                nothing = await server.call(method, f"/v1/batches/none{path}", body, as_them)
                assert answer.status == nothing.status == 404, (path, answer.body)
                assert answer.error["message"].replace(name, "") == nothing.error["message"].replace("none", "")
        listed = (await server.get("/v1/batches", **as_them)).json
        assert (listed["data"], listed["batches"]) == ([], [])
        assert (await server.get(f"/v1/batches?after={batch_id}", **as_them)).status == 404


async def test_a_key_that_may_only_write_sees_no_counts(tmp_path: Path) -> None:
    async with batching(tmp_path) as server:
        writes, reads = await server.key("t", "write"), await server.key("t", "read")
        as_writer, as_reader = ({"authorization": f"Bearer {key}"} for key in (writes, reads))
        file_id = await a_file(server, [a_line("a")], key=writes)
        asked = {"endpoint": CHAT, "input_file_id": file_id}

        assert (await server.post("/v1/batches", asked, **as_reader)).status == 403
        made = (await server.post("/v1/batches", asked, **as_writer)).json
        assert (await server.get(f"/v1/batches/{made['id']}", **as_writer)).status == 403
        await server.get(f"/v1/batches/{made['id']}?wait=20", **as_reader)
        again = (await server.post("/v1/batches", {"name": "x"}, **as_writer)).json
        await server.post(f"/v1/batches/{again['batch_id']}/requests", {"batch_requests": [an_item("a")]}, **as_writer)
        cancelled = (await server.post(f"/v1/batches/{again['batch_id']}/cancel", **as_writer)).json
        assert cancelled["state"]["num_requests"] == 0


async def test_without_an_object_store_there_are_no_files_and_so_no_such_batches(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        answer = await server.post("/v1/batches", {"endpoint": CHAT, "input_file_id": "file_x"})

        assert (answer.status, answer.error["code"]) == (501, "no_object_store")


@pytest.mark.parametrize("path", ["/v1/batches/x/y", "/v1/batches/x", "/v1/batches/x/results"])
async def test_no_upstream_is_asked_below_batches(server: Running, path: str) -> None:
    answer = await server.post(path, {"model": "m"})

    assert answer.status in (404, 405)
    assert server.upstream.count == 0


async def test_an_estimate_is_honest_about_what_nobody_knows(server: Running) -> None:
    asked: Json = {"lines": [{"endpoint": CHAT, "model": "m", "requests": 100, "tokens": 6_000}]}
    unknown = (await server.post("/v1/batches/estimate", asked)).json

    assert unknown == {
        "object": "batch.estimate",
        "seconds": None,
        "models": [{"model": "m", "requests": 100, "tokens": 6_000, "waiting": 0, "seconds": None, "basis": "unknown"}],
    }


async def test_an_estimate_goes_by_limits_and_by_what_was_measured(server: Running) -> None:
    asked: Json = {"lines": [{"model": "m", "requests": 100, "tokens": 6_000}]}
    await server.edge.store.registry.set_limits("queue", "m", Limits(rpm=50, tpm=1_000))
    limited = (await server.post("/v1/batches/estimate", asked)).json
    await server.edge.store.registry.set_limits("queue", "m", Limits())
    batch = await created(server, [a_line(f"{n}") for n in range(20)])
    await ended(server, batch["id"])
    measured = (await server.post("/v1/batches/estimate", asked)).json

    assert (limited["seconds"], limited["models"][0]["basis"]) == (360, "limits")
    assert measured["models"][0]["basis"] == "measured"
    assert 0 < measured["seconds"] < 360


@pytest.mark.parametrize(
    "lines",
    [
        [],
        "m",
        [{"model": "m"}],
        [{"model": "m", "requests": -1}],
        [{"model": "m", "requests": 10**20}],
        [{"model": "m", "requests": 1, "endpoint": "/v1/files"}],
        [{"model": "nobody", "requests": 1}],
    ],
)
async def test_an_estimate_of_nonsense_is_refused(server: Running, lines: Any) -> None:
    assert (await server.post("/v1/batches/estimate", {"lines": lines})).status in (400, 404)


async def test_an_estimate_that_says_each_request_on_its_own_is_too_large(server: Running) -> None:
    answer = await server.post("/v1/batches/estimate", {"lines": [{"model": "m", "requests": 1}] * 25_000})

    assert (answer.status, answer.error["code"]) == (413, "request_too_large"), answer.body
    assert "one line per model" in answer.error["message"]


async def test_a_line_that_failed_is_told_as_in_the_error_file(server: Running) -> None:
    server.upstream.always(error(400, "no such thing"))
    batch = await created(server, [a_line("a")])
    batch = await ended(server, batch["id"])

    [one] = await all_results(server, batch["id"])
    [line] = await lines_of(server, batch["error_file_id"])
    assert {name: one[name] for name in line} == line
