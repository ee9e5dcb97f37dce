"""`raincheck submit`: from words on the command line to the request the upstream sees."""

from datetime import UTC, datetime
from pathlib import Path

from raincheck.core.clock import SECOND, now
from tests.cli.desk import run, run_at
from tests.scripted import HELLO, error
from tests.server import running_server


async def test_submit_prints_the_id_and_wait_the_answer(tmp_path: Path):
    async with running_server(tmp_path) as server:
        submitted = await run_at(server, "submit", "Hello?")
        [request_id] = submitted.lines
        assert (submitted.code, request_id[:4]) == (0, "req_")
        ended = await run_at(server, "wait", request_id)
        assert (ended.code, ended.stdout) == (0, f"{HELLO}\n")
        assert f"{request_id} completed" in ended.stderr


async def test_submit_and_wait_in_one_go_keeps_stdout_for_the_answer(tmp_path: Path):
    async with running_server(tmp_path) as server:
        ended = await run_at(server, "submit", "Hello?", "--wait")
        assert (ended.code, ended.stdout) == (0, f"{HELLO}\n")
        assert ended.stderr.startswith("req_")


async def test_the_body_holds_what_the_options_say(tmp_path: Path):
    async with running_server(tmp_path, models=["a", "b"]) as server:
        options = ["--system", "Be short.", "--max-tokens", "7", "--temperature", "0", "-m", "b", "--tier", "flex"]
        ended = await run_at(server, "submit", "-", *options, "--json", stdin="from a pipe")
        assert (ended.json["model"], ended.json["service_tier"], ended.json["status"]) == ("b", "flex", "pending")
        sent = (await server.upstream.received()).json
        assert sent["messages"] == [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "from a pipe"},
        ]
        assert (sent["max_tokens"], sent["temperature"]) == (7, 0)


async def test_the_request_carries_its_options(tmp_path: Path):
    async with running_server(tmp_path) as server:
        options = ["--metadata", "team=blue", "--metadata", "run=a=b", "--max-attempts", "2", "--expires-in", "10m"]
        record = (await run_at(server, "submit", "x", *options, "--webhook-url", "https://example.org/", "--json")).json
        assert record["metadata"] == {"team": "blue", "run": "a=b"}
        assert record["webhook_url"] == "https://example.org/"
        assert record["max_attempts"] == 2
        assert 590 < record["deadline"] - record["created_at"] < 610


async def test_times_are_unix_seconds_or_rfc_3339(tmp_path: Path):
    async with running_server(tmp_path) as server:
        soon = round(now() / SECOND) + 3600
        later = datetime.fromtimestamp(soon + 60, UTC).isoformat()
        record = (await run_at(server, "submit", "x", "--not-before", str(soon), "--deadline", later, "--json")).json
        assert (record["not_before"], record["deadline"]) == (soon, soon + 60)


async def test_the_same_idempotency_key_gives_the_same_request(tmp_path: Path):
    """G9."""
    async with running_server(tmp_path) as server:
        first, second = [await run_at(server, "submit", "x", "--idempotency-key", "k") for _ in range(2)]
        assert first.stdout == second.stdout
        other = await run_at(server, "submit", "y", "--idempotency-key", "k")
        assert other.code == 1
        assert "Idempotency-Key" in other.stderr


async def test_any_json_body_goes_to_any_path(tmp_path: Path):
    body = tmp_path / "body.json"
    body.write_text('{"model": "m", "input": "words"}', encoding="utf-8")
    async with running_server(tmp_path) as server:
        ended = await run_at(server, "submit", "--file", str(body), "--path", "/embeddings", "--wait", "--json")
        assert (ended.json["operation"], ended.json["status"]) == ("embedding", "completed")
        assert (await server.upstream.received()).path == "/embeddings"


async def test_a_failed_request_is_exit_code_1_with_the_reason(tmp_path: Path):
    async with running_server(tmp_path) as server:
        server.upstream.script(error(400, "the prompt is too long"))
        ended = await run_at(server, "submit", "x", "--wait")
        assert (ended.code, ended.stdout) == (1, "")
        assert "failed" in ended.stderr
        assert "the prompt is too long" in ended.stderr


async def test_an_unknown_model_is_told_with_the_known_ones(tmp_path: Path):
    async with running_server(tmp_path, models=["small", "large"]) as server:
        ended = await run_at(server, "submit", "x", "-m", "smal")
        assert ended.code == 3
        assert "large, small" in ended.stderr


def test_what_cannot_be_meant_is_a_usage_error(tmp_path: Path):
    broken = tmp_path / "broken.json"
    broken.write_text("{", encoding="utf-8")
    listed = tmp_path / "list.json"
    listed.write_text("[]", encoding="utf-8")
    half = tmp_path / "half.json"
    half.write_text('{"input": "\\ud800"}', encoding="utf-8")
    for arguments, told in (
        ([], "give a prompt"),
        (["x", "--file", "y"], "give a prompt"),
        (["--file", str(tmp_path / "none.json")], "cannot be read"),
        (["--file", str(broken)], "is not JSON"),
        (["--file", str(listed)], "must hold a JSON object"),
        (["--file", str(listed), "--system", "x"], "goes with a prompt"),
        (["x", "--path", "/embeddings"], "a prompt is a chat"),
        (["x", "--metadata", "novalue"], "is not KEY=VALUE"),
        (["x", "--timeout", "soon"], "as in 15s"),
        (["x", "--tier", "best"], "best"),
        (["x", "--base-url", "localhost:1"], "must begin with http"),
        (["x", "--base-url", "http://[::1"], "is none"),
        ([""], "is empty"),
        (["-"], "is empty"),
        (["\udcff"], "is not UTF-8 text"),
        (["x", "--system", "\udcff"], "is not UTF-8 text"),
        (["--file", str(half)], "is not JSON"),
        (["x", "--idempotency-key", "a\r\nX: 1"], "--idempotency-key"),
        (["x", "--deadline", "yesterday"], "--deadline"),
        (["x", "--not-before", "2027-01-31T12:00:00"], "with its zone"),
        (["x", "--deadline", "nan"], "must be Unix seconds"),
        (["x", "--expires-in", "9" * 400 + "d"], "at most 36500d"),
    ):
        ended = run("submit", *arguments)
        assert (ended.code, ended.stdout) == (2, ""), arguments
        assert told in " ".join(ended.stderr.split()), arguments


def test_stdin_that_is_no_text_is_a_usage_error():
    for arguments in (["-"], ["--file", "-"]):
        ended = run("submit", *arguments, stdin=b"\xff\xfe")
        assert (ended.code, ended.stdout) == (2, ""), arguments
