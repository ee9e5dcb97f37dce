"""`raincheck wait` and `raincheck events`: staying with requests to their end, and the exit codes of each end."""

import asyncio
import json
from pathlib import Path

from tests.cli.desk import run_at
from tests.scripted import error, text
from tests.server import a_chat, running_server


async def test_answers_come_in_the_order_asked_for(tmp_path: Path):
    async with running_server(tmp_path) as server:
        server.upstream.script(text("one"), text("two"))
        ids = [await server.defer(content="1")]
        await server.ended(ids[0])
        ids.append(await server.defer(content="2"))
        ended = await run_at(server, "wait", *reversed(ids))
        assert (ended.code, ended.stdout) == (0, "two\none\n")


async def test_json_is_one_record_a_line_with_its_result(tmp_path: Path):
    async with running_server(tmp_path) as server:
        ids = [await server.defer(), await server.defer()]
        ended = await run_at(server, "wait", *ids, "--json")
        records = [json.loads(line) for line in ended.lines]
        assert [record["id"] for record in records] == ids
        assert all(record["result"]["choices"] for record in records)


async def test_a_wait_that_is_too_short_is_exit_code_4_and_the_work_goes_on(tmp_path: Path):
    hold = asyncio.Event()
    async with running_server(tmp_path) as server:
        server.upstream.script(text("late", before=hold))
        request_id = await server.defer()
        early = await run_at(server, "wait", request_id, "--timeout", "200ms")
        assert (early.code, early.stdout) == (4, "")
        assert f"raincheck wait {request_id}" in early.stderr
        hold.set()
        assert (await run_at(server, "wait", request_id)).stdout == "late\n"


async def test_the_worst_end_decides_the_exit_code(tmp_path: Path):
    async with running_server(tmp_path) as server:
        server.upstream.script(error(400, "no"))
        failed = await server.defer()
        await server.ended(failed)
        ended = await run_at(server, "wait", failed, await server.defer())
        assert ended.code == 1
        assert len(ended.lines) == 1


async def test_an_unknown_id_is_exit_code_3(tmp_path: Path):
    async with running_server(tmp_path) as server:
        for command in ("wait", "status", "cancel", "requeue", "events"):
            ended = await run_at(server, command, "req_nobody")
            assert (ended.code, ended.stdout) == (3, ""), command
            assert ended.stderr.startswith("raincheck: ")


async def test_events_print_the_answer_as_it_is_written(tmp_path: Path):
    hold = asyncio.Event()
    async with running_server(tmp_path) as server:
        server.upstream.script(text("word by word", before=hold))
        request_id = await server.defer()
        following = asyncio.create_task(run_at(server, "events", request_id))
        await server.upstream.received()
        hold.set()
        ended = await following
        assert (ended.code, ended.stdout) == (0, "word by word\n")
        assert f"{request_id} completed" in ended.stderr


async def test_events_of_an_ended_request_print_its_answer(tmp_path: Path):
    async with running_server(tmp_path) as server:
        server.upstream.script(text("done before"))
        request_id = await server.defer()
        await server.ended(request_id)
        assert (await run_at(server, "events", request_id)).stdout == "done before\n"
        told = await run_at(server, "events", request_id, "--json")
        assert [json.loads(line)["type"] for line in told.lines] == ["status"]


async def test_events_of_a_failed_request_are_exit_code_1(tmp_path: Path):
    async with running_server(tmp_path) as server:
        server.upstream.script(error(400, "no"))
        reply = await server.post("/v1/chat/completions", a_chat(deferred=True))
        ended = await run_at(server, "events", reply.json["id"])
        assert ended.code == 1
        assert "no" in ended.stderr
