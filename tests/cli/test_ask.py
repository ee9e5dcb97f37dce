"""`raincheck status`, `list`, `cancel` and `requeue`: reading and changing what is on record."""

import asyncio
from pathlib import Path

import pytest

from tests.cli.desk import run, run_at
from tests.client.servers import VERSION, Answer, ScriptedServer, a_record
from tests.scripted import error, text
from tests.server import running_server


async def test_status_tells_where_it_stands_and_how_its_attempts_went(tmp_path: Path):
    async with running_server(tmp_path) as server:
        server.upstream.script(error(400, "too long"))
        request_id = await server.defer()
        await server.ended(request_id)
        ended = await run_at(server, "status", request_id)
        assert ended.code == 0
        assert ended.stdout.startswith(f"id          {request_id}\nstatus      failed, ")
        assert "attempt 1   failed at up: " in ended.stdout
        record = (await run_at(server, "status", request_id, "--json")).json
        assert (record["id"], record["attempts"][0]["outcome"]) == (request_id, "failed")


async def test_status_of_a_waiting_request_has_its_place(tmp_path: Path):
    hold = asyncio.Event()
    async with running_server(tmp_path, places=1) as server:
        server.upstream.script(text("late", before=hold))
        await server.defer()
        await server.upstream.received()
        told = (await run_at(server, "status", await server.defer())).stdout
        assert "pending, position 1" in told
        hold.set()


async def test_status_shows_the_answer_of_a_completed_one(tmp_path: Path):
    async with running_server(tmp_path) as server:
        server.upstream.script(text("the answer"))
        request_id = await server.defer()
        await server.ended(request_id)
        assert (await run_at(server, "status", request_id)).stdout.endswith("\nthe answer\n")


async def test_list_is_newest_first_and_tab_separated_in_a_pipe(tmp_path: Path):
    async with running_server(tmp_path) as server:
        ids = [await server.defer(content=str(number)) for number in range(3)]
        for request_id in ids:
            await server.ended(request_id)
        rows = [line.split("\t") for line in (await run_at(server, "list")).lines]
        assert [row[0] for row in rows] == ids[::-1]
        assert {row[1] for row in rows} == {"completed"}
        limited = await run_at(server, "list", "--limit", "2", "--json", "--status", "completed")
        assert [record["id"] for record in limited.json] == ids[:0:-1]


@pytest.mark.slow("a page has a hundred rows")
async def test_list_goes_over_pages_up_to_its_limit(tmp_path: Path):
    async with running_server(tmp_path) as server:
        await asyncio.gather(*(server.defer(content=str(number)) for number in range(110)))
        assert len((await run_at(server, "list", "--limit", "105")).lines) == 105


async def test_an_empty_list_prints_nothing_on_stdout(tmp_path: Path):
    async with running_server(tmp_path) as server:
        ended = await run_at(server, "list", "--status", "failed")
        assert (ended.code, ended.stdout, ended.stderr) == (0, "", "no requests\n")


async def test_cancel_and_requeue_go_there_and_back(tmp_path: Path):
    hold = asyncio.Event()
    async with running_server(tmp_path) as server:
        server.upstream.script(text("never", before=hold))
        request_id = await server.defer()
        await server.upstream.received()
        cancelled = await run_at(server, "cancel", request_id)
        assert (cancelled.code, cancelled.stdout) == (0, f"{request_id} cancelled\n")
        [copy] = (await run_at(server, "requeue", request_id)).lines
        assert copy != request_id
        assert (await run_at(server, "wait", copy)).code == 0


async def test_requeueing_what_is_completed_is_refused(tmp_path: Path):
    async with running_server(tmp_path) as server:
        request_id = await server.defer()
        await server.ended(request_id)
        ended = await run_at(server, "requeue", request_id)
        assert ended.code == 1
        assert "requeued" in ended.stderr


def test_status_shows_a_result_that_is_no_object():
    record = a_record("completed", operation="other", result=[1, 2])
    with ScriptedServer(lambda _: Answer(200, record, VERSION)) as server:
        ended = run("status", "req_1", "--base-url", server.url)
    assert (ended.code, ended.stdout.split()[-4:]) == (0, ["[", "1,", "2", "]"])


def test_a_server_that_is_no_raincheck_has_no_empty_list():
    with ScriptedServer(lambda _: Answer(200, {"status": "ok"})) as server:
        ended = run("list", "--base-url", server.url)
    assert (ended.code, ended.stdout) == (1, "")
    assert "Is this a Raincheck server?" in ended.stderr
