"""`raincheck batch`: from a file on the disk to a file on the disk."""

import asyncio
import json
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.desk import Ended, run_at
from tests.client.batch_desk import Gate, answering
from tests.scripted import text
from tests.scripted.exchange import Exchange
from tests.server import Running

pytestmark = pytest.mark.slow("each runs a batch to its end")

Desk = tuple[Running, Gate]
CHAT = "/v1/chat/completions"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    (tmp_path / "server").mkdir()
    async with answering(tmp_path / "server") as running:
        yield running


def a_file(path: Path, prompts: dict[str, str]) -> Path:
    bodies = ({"model": "m", "messages": [{"role": "user", "content": prompt}]} for prompt in prompts.values())
    lines = (
        {"custom_id": name, "method": "POST", "url": CHAT, "body": body}
        for name, body in zip(prompts, bodies, strict=True)
    )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def names(path: Path) -> list[str]:
    return [json.loads(line)["custom_id"] for line in path.read_text().splitlines()]


def texts(path: Path) -> list[str]:
    bodies = [json.loads(line)["response"]["body"] for line in path.read_text().splitlines()]
    return [body["choices"][0]["message"]["content"] for body in bodies]


async def the_id(server: Running, *arguments: str) -> str:
    [batch_id] = (await run_at(server, "batch", "run", *arguments, "--detach")).lines
    return batch_id


async def test_a_file_is_run_and_the_output_is_in_its_order(desk: Desk, tmp_path: Path) -> None:
    source = a_file(tmp_path / "in.jsonl", {f"n{n}": f"p{n}" for n in range(50)})
    out = tmp_path / "out.jsonl"
    ended = await run_at(desk[0], "batch", "run", str(source), "-o", str(out))
    assert (ended.code, ended.stdout) == (0, "")
    assert names(out) == [f"n{n}" for n in range(50)]
    assert "50 requests in" in ended.stderr
    assert ended.stderr.startswith("batch_")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl", "server"]


async def test_failures_go_beside_and_are_done_again_alone(desk: Desk, tmp_path: Path) -> None:
    server, _ = desk
    prompts = {f"n{n}": "bad" if n % 3 == 0 else f"p{n}" for n in range(10)}
    source, out = a_file(tmp_path / "in.jsonl", prompts), tmp_path / "out.jsonl"
    ended = await run_at(server, "batch", "run", str(source), "-o", str(out), "--json")
    errors = tmp_path / "out.errors.jsonl"
    assert (ended.code, ended.json["request_counts"]["failed"]) == (1, 4)
    assert names(errors) == ["n0", "n3", "n6", "n9"]

    server.upstream.always(None)
    before = server.upstream.count
    once_more = ["batch", "run", str(source), "-o", str(out), "--retry-failed"]
    again = await run_at(server, *once_more, str(errors))
    assert (again.code, server.upstream.count - before) == (0, 4)
    assert names(out) == list(prompts)
    assert not errors.exists()

    out.unlink()
    from_id = await run_at(server, *once_more, ended.json["id"])
    assert (from_id.code, names(out)) == (0, list(prompts))
    nothing = await run_at(server, *once_more, from_id.stderr.split()[0])
    assert (nothing.code, "nothing failed" in nothing.stderr) == (0, True)


async def test_a_retry_pays_for_nothing_twice_and_each_line_is_there_once(desk: Desk, tmp_path: Path) -> None:
    server, _ = desk
    prompts = {"a": "x", "b": "bad", "c": "y"}
    source, out = a_file(tmp_path / "in.jsonl", prompts), tmp_path / "out.jsonl"
    first = await run_at(server, "batch", "run", str(source), "-o", str(out), "--json")
    out.write_text("".join(reversed(out.read_text().splitlines(keepends=True))))  # as others may have written it
    server.upstream.always(None)
    once_more = ["batch", "run", str(source), "-o", str(out), "--retry-failed"]
    assert (await run_at(server, *once_more, first.json["id"])).code == 0
    assert names(out) == list(prompts)
    before = server.upstream.count
    for which in (first.json["id"], str(tmp_path / "out.errors.jsonl")):
        again = await run_at(server, *once_more, which)
        assert (again.code, "nothing to do again" in again.stderr) == (0, True), again.stderr
    assert (names(out), server.upstream.count) == (list(prompts), before)


async def test_failures_that_were_not_to_be_done_again_stay_failures(desk: Desk, tmp_path: Path) -> None:
    server, _ = desk
    source, out = a_file(tmp_path / "in.jsonl", {"a": "bad", "b": "x", "c": "bad", "d": "bad"}), tmp_path / "out.jsonl"
    await run_at(server, "batch", "run", str(source), "-o", str(out))
    errors, some = tmp_path / "out.errors.jsonl", tmp_path / "some.jsonl"
    some.write_text(errors.read_text().splitlines()[1])
    server.upstream.always(None)
    ended = await run_at(server, "batch", "run", str(source), "-o", str(out), "--retry-failed", str(some))
    assert (ended.code, names(out), names(errors)) == (0, ["b", "c"], ["a", "d"])


async def test_an_output_of_another_input_is_not_thrown_away(desk: Desk, tmp_path: Path) -> None:
    server, _ = desk
    source, out = a_file(tmp_path / "in.jsonl", {"a": "x", "b": "bad"}), tmp_path / "out.jsonl"
    await run_at(server, "batch", "run", str(source), "-o", str(out))
    a_file(source, {"b": "good", "c": "x"})
    errors = str(tmp_path / "out.errors.jsonl")
    ended = await run_at(server, "batch", "run", str(source), "-o", str(out), "--retry-failed", errors)
    assert (ended.code, "has a line for 'a'" in ended.stderr, names(out)) == (1, True, ["a"])
    assert server.upstream.count == 2


async def test_a_table_is_run_through_a_template(desk: Desk, tmp_path: Path) -> None:
    server, _ = desk
    source, out = tmp_path / "in.csv", tmp_path / "out.jsonl"
    source.write_text('id,text\nx,"Guten\nTag"\ny,Hallo\n')
    made = ["--template", "Translate: {text}", "--id-column", "id", "--system", "Be brief.", "--set", "temperature=0"]
    ended = await run_at(server, "batch", "run", str(source), "-o", str(out), "-m", "m", *made)
    assert (ended.code, names(out)) == (0, ["x", "y"])
    assert texts(out) == ["heard Translate: Guten\nTag", "heard Translate: Hallo"]
    asked = server.upstream.requests[-1].json
    assert asked["temperature"] == 0
    assert asked["messages"][0] == {"role": "system", "content": "Be brief."}


async def test_prompts_from_stdin_are_answered_on_stdout(desk: Desk) -> None:
    ended = await run_at(desk[0], "batch", "run", "-", stdin="one\n\ntwo\n")
    results = [json.loads(line) for line in ended.lines]
    assert {result["custom_id"] for result in results} == {"request-1", "request-2"}
    assert ended.code == 0


async def test_batch_lines_from_stdin_go_as_they_are(desk: Desk, tmp_path: Path) -> None:
    lines = a_file(tmp_path / "in.jsonl", {"a": "x", "b": "y"}).read_text()
    ended = await run_at(desk[0], "batch", "run", "-", stdin=lines)
    assert {json.loads(line)["custom_id"] for line in ended.lines} == {"a", "b"}
    nothing = await run_at(desk[0], "batch", "run", "-", stdin="\n")
    assert (nothing.code, "no requests in stdin" in nothing.stderr) == (2, True)


async def test_a_batch_is_left_looked_at_listed_and_come_back_to(desk: Desk, tmp_path: Path) -> None:
    server, gate = desk
    source, out = a_file(tmp_path / "in.jsonl", {"a": "x", "b": "later"}), tmp_path / "out.jsonl"
    batch_id = await the_id(server, str(source))
    while not (ready := (await run_at(server, "batch", "results", batch_id)).lines):
        pass
    assert [json.loads(line)["custom_id"] for line in ready] == ["a"]
    running = await run_at(server, "batch", "status", batch_id)
    assert "1 of 2 done" in running.stdout
    [listed] = (await run_at(server, "batch", "list")).lines
    assert listed.split("\t")[:4] == [batch_id, "in_progress", "1/2", ""]
    so_far = await run_at(server, "batch", "results", batch_id, "-o", str(tmp_path / "so-far.jsonl"))
    assert (names(tmp_path / "so-far.jsonl"), "so far" in so_far.stderr) == (["a"], True)
    gate.open.set()
    followed = await run_at(server, "batch", "results", batch_id, "-f", "-o", str(tmp_path / "followed.jsonl"))
    assert (followed.code, names(tmp_path / "followed.jsonl")) == (0, ["a", "b"])
    back = await run_at(server, "batch", "run", "--resume", batch_id, "-o", str(out))
    assert (back.code, names(out)) == (0, ["a", "b"])
    told = await run_at(server, "batch", "status", batch_id)
    assert "completed, 2 of 2 done" in told.stdout
    assert (await run_at(server, "batch", "status", batch_id, "--json")).json["request_counts"]["completed"] == 2
    assert (await run_at(server, "batch", "results", batch_id, "-o", str(tmp_path / "more.jsonl"))).code == 0
    assert names(tmp_path / "more.jsonl") == ["a", "b"]
    after = await run_at(server, "batch", "results", batch_id, "--after", "1", "--follow")
    assert [json.loads(line)["custom_id"] for line in after.lines] == ["b"]


async def test_a_cancelled_batch_keeps_what_is_done(desk: Desk, tmp_path: Path) -> None:
    server, _ = desk
    source, out = a_file(tmp_path / "in.jsonl", {"a": "x", "b": "later"}), tmp_path / "out.jsonl"
    batch_id = await the_id(server, str(source))
    while not (await run_at(server, "batch", "results", batch_id)).lines:
        pass
    cancelled = await run_at(server, "batch", "cancel", batch_id, "--wait", "--json")
    assert (cancelled.json["status"], cancelled.json["request_counts"]["cancelled"]) == ("cancelled", 1)
    assert (await run_at(server, "batch", "results", batch_id, "-o", str(out))).code == 0
    assert (names(out), names(tmp_path / "out.errors.jsonl")) == (["a"], ["b"])
    back = await run_at(server, "batch", "run", "--resume", batch_id, "-o", str(out))
    assert (back.code, "1 completed, 1 cancelled" in back.stderr) == (1, True)
    [listed] = (await run_at(server, "batch", "list")).lines
    assert listed.split("\t")[2:4] == ["2/2", "1 cancelled"]


async def test_a_refused_file_tells_every_line(desk: Desk, tmp_path: Path) -> None:
    source = a_file(tmp_path / "in.jsonl", {"a": "x"})
    source.write_text(source.read_text() * 3 + "broken\n")
    ended = await run_at(desk[0], "batch", "run", str(source), "-o", str(tmp_path / "out.jsonl"))
    assert (ended.code, "nothing was begun" in ended.stderr) == (1, True)
    assert [line.partition(":")[0] for line in ended.stderr.splitlines()[1:-1]] == ["line 2", "line 3", "line 4"]
    batch_id = ended.stderr.split()[0]
    assert "line 4: " in (await run_at(desk[0], "batch", "status", batch_id)).stdout


async def test_many_refusals_are_cut_and_of_a_table_they_name_its_lines(desk: Desk, tmp_path: Path) -> None:
    line = a_file(tmp_path / "in.jsonl", {"a": "x"}).read_text()
    (tmp_path / "in.jsonl").write_text(line * 30)
    many = await run_at(desk[0], "batch", "run", str(tmp_path / "in.jsonl"))
    told = many.stderr.splitlines()
    assert (len(told), told[-2].partition(":")[0]) == (13, "and 19 more")
    source = tmp_path / "in.csv"
    source.write_text('id,text\nfirst,"a\nb\nc"\n' + "n" * 2_000 + ",x\n")
    refused = await run_at(desk[0], "batch", "run", str(source), "--id-column", "id")
    assert refused.stderr.splitlines()[1].startswith("line 5: "), refused.stderr


async def test_xais_batches_are_told_of_too(desk: Desk) -> None:
    server, _ = desk
    made = (await server.post("/xai/v1/batches", {"name": "night"})).json["batch_id"]
    chat: Any = {"chat_get_completion": {"model": "m", "messages": [{"role": "user", "content": "x"}]}}
    asked = {"batch_requests": [{"batch_request_id": "a", "batch_request": chat}]}
    await server.post(f"/xai/v1/batches/{made}/requests", asked)
    [line] = (await run_at(server, "batch", "results", made, "--follow")).lines
    assert json.loads(line)["custom_id"] == "a"
    assert "night" in (await run_at(server, "batch", "status", made)).stdout
    [listed] = (await run_at(server, "batch", "list")).lines
    assert listed.split("\t") == [made, "completed", "1/1", "", "night"]
    refused = await run_at(server, "batch", "run", "--resume", made)
    assert (refused.code, f"raincheck batch results {made} --follow" in refused.stderr) == (2, True)
    assert (await run_at(server, "batch", "cancel", made, "--wait")).lines == [f"{made} cancelled"]


async def test_an_estimate_is_told_in_a_few_lines(desk: Desk, tmp_path: Path) -> None:
    source = a_file(tmp_path / "in.jsonl", {"a": "x", "b": "y"})
    told = (await run_at(desk[0], "batch", "estimate", str(source))).lines
    assert [line.split()[0] for line in told] == ["requests", "tokens", "time"]
    as_json = await run_at(desk[0], "batch", "estimate", str(source), "--json")
    assert (as_json.json["requests"], as_json.json["models"][0]["model"]) == (2, "m")


async def test_what_cannot_be_is_told_with_the_right_exit_code(desk: Desk, tmp_path: Path) -> None:
    async def told(*arguments: str) -> Ended:
        return await run_at(desk[0], "batch", *arguments)

    source = str(a_file(tmp_path / "in.jsonl", {"a": "x"}))
    for arguments, code, words in (
        (("run", "nothing.jsonl"), 2, "there is no file"),
        (("run",), 2, "give a file"),
        (("run", source, "-o", str(tmp_path)), 2, "is a folder"),
        (("run", source, "-o", str(tmp_path / "no" / "out.jsonl")), 2, "there is no folder"),
        (("run", source, "--retry-failed", "x"), 2, "needs the input's file"),
        (("run", source, "--retry-failed", "x", "-o", str(tmp_path / "o")), 2, "neither a file nor the id"),
        (("run", source, "--set", "x"), 2, "not NAME=VALUE"),
        (("run", source, "-o", source), 2, "it is the input"),
        (("run", source, "--delimiter", "ab"), 2, "one character"),
        (("status", "batch_" + "0" * 32), 3, ""),
        (("run", "--resume", "batch_" + "0" * 32), 3, ""),
    ):
        ended = await told(*arguments)
        assert (ended.code, words in ended.stderr) == (code, True), ended.stderr


async def interrupted(server: Running, *arguments: str | Path, once: Path) -> tuple[str, str]:
    """A `batch run` that gets Ctrl-C once something is in a file: the batch's id, and what was said then."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "raincheck.cli.main", "batch", "run", *arguments),
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "RAINCHECK_BASE_URL": "http://127.0.0.1:1"},
    )
    assert process.stderr is not None
    async with asyncio.timeout(30):
        batch_id = (await process.stderr.readline()).decode().strip()
        while not once.exists() or not once.read_text():
            await asyncio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        told = (await process.stderr.read()).decode()
        assert await process.wait() == 130, told
    return batch_id, told


def hinted(told: str, words: str) -> list[str]:
    """The arguments of the command that is told behind these words."""
    return shlex.split(told.partition(words)[2].partition("\n")[0])[1:]


async def test_ctrl_c_leaves_it_running_and_says_how_to_come_back(desk: Desk, tmp_path: Path) -> None:
    server, gate = desk
    source, out = a_file(tmp_path / "in.jsonl", {"a": "x", "b": "later"}), tmp_path / "my out.jsonl"
    errors, part = tmp_path / "errors", tmp_path / "my out.jsonl.part"
    given = (source, "-o", out, "--errors", errors, "--base-url", server.url)
    batch_id, told = await interrupted(server, *given, once=part)
    resume = hinted(told, "the batch goes on: ")
    where = ["-o", str(out), "--errors", str(errors), "--base-url", server.url]
    assert resume == ["batch", "run", "--resume", batch_id, *where]
    assert hinted(told, "to end it: ") == ["batch", "cancel", batch_id, "--base-url", server.url]
    assert names(part) == ["a"]
    gate.open.set()
    back = await run_at(server, *resume, RAINCHECK_BASE_URL="http://127.0.0.1:1")
    assert (back.code, names(out), part.exists()) == (0, ["a", "b"], False)


async def test_ctrl_c_in_a_retry_and_the_command_it_tells_lose_no_result(desk: Desk, tmp_path: Path) -> None:
    server, gate = desk
    source, out = tmp_path / "in.csv", tmp_path / "out.jsonl"
    rows = {f"n{n}": "bad later" if n == 4 else "bad" if n % 2 else "good" for n in range(6)}
    source.write_text("id;text\n" + "".join(f"{name};{text}\n" for name, text in rows.items()))
    gate.open.set()
    made = ["--template", "it's {text}", "--id-column", "id", "--set", "temperature=0", "-m", "m"]
    first = await run_at(server, "batch", "run", str(source), *made, "-o", str(out))
    assert (names(out), names(tmp_path / "out.errors.jsonl")) == (["n0", "n2"], ["n1", "n3", "n4", "n5"])
    gate.open.clear()

    again = [*hinted(first.stderr, "once more: ")[2:], "--base-url", server.url]
    batch_id, told = await interrupted(server, *again, once=tmp_path / "out.jsonl.part")

    async def healed(exchange: Exchange) -> None:
        await text("fine")(exchange)

    server.upstream.always(healed)
    gate.open.set()
    plain = await run_at(server, "batch", "run", "--resume", batch_id, "-o", str(out))
    assert (plain.code, "did only what had failed" in plain.stderr) == (2, True)
    back = await run_at(server, *hinted(told, "the batch goes on: "))
    assert back.code == 1
    errors = tmp_path / "out.errors.jsonl"
    assert sorted(names(out) + names(errors)) == sorted(rows)
    assert names(out)[:2] == ["n0", "n2"]


async def test_an_output_that_cannot_be_written_is_told_before_anything_is_paid(desk: Desk, tmp_path: Path) -> None:
    server, _ = desk
    source = a_file(tmp_path / "in.jsonl", {"a": "x"})
    for place in (["-o", "/proc/out.jsonl"], ["-o", str(tmp_path / "out.jsonl"), "--errors", "/proc/errors.jsonl"]):
        ended = await run_at(server, "batch", "run", str(source), *place)
        assert (ended.code, f"cannot write {place[-1]}" in ended.stderr) == (1, True), ended.stderr
    assert (server.upstream.count, (await run_at(server, "batch", "list")).lines) == (0, [])


async def test_a_disk_that_fills_up_meanwhile_costs_nothing(desk: Desk, tmp_path: Path) -> None:
    server, _ = desk
    source, out = a_file(tmp_path / "in.jsonl", {"a": "x"}), tmp_path / "out.jsonl"
    (tmp_path / "out.jsonl.part").symlink_to("/dev/full")
    batch = await run_at(server, "batch", "run", str(source), "-o", str(out))
    assert batch.code == 2
    (tmp_path / "out.jsonl.part").unlink()

    async def gone(exchange: Exchange) -> None:
        (tmp_path / "out.jsonl.part").unlink()
        (tmp_path / "out.jsonl").mkdir()
        await text("fine")(exchange)

    server.upstream.always(gone)
    ended = await run_at(server, "batch", "run", str(source), "-o", str(out))
    assert (ended.code, f"cannot write {out}" in ended.stderr) == (1, True), ended.stderr
    out.rmdir()
    assert (await run_at(server, *hinted(ended.stderr, "results still: "))).code == 0
    assert names(out) == ["a"]
