"""Requests as people have them, to lines; and a file of any length made of them."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from raincheck.client.batches.adding import MOST_ADDED, chunks
from raincheck.client.batches.lines import CHAT, Recipe, Requests, each, lines
from raincheck.client.batches.spool import spooled

A_BODY: dict[str, Any] = {"model": "m", "messages": []}
NO_MODEL: dict[str, Any] = {"messages": []}


def made(*requests: Any, **recipe: Any) -> list[dict[str, Any]]:
    return list(lines(requests, Recipe(**recipe)))


def test_a_prompt_becomes_the_body_that_its_endpoint_takes() -> None:
    [chat] = made("Hi", model="m")
    assert chat == {
        "custom_id": "request-1",
        "method": "POST",
        "url": CHAT,
        "body": {"model": "m", "messages": [{"role": "user", "content": "Hi"}]},
    }
    [embedding] = made("Hi", model="m", endpoint="/v1/embeddings")
    assert embedding["body"] == {"model": "m", "input": "Hi"}


def test_what_a_body_says_stands_and_the_rest_is_filled_in() -> None:
    [one, other] = made(A_BODY, {"messages": []}, model="other", params={"seed": 1, "model": "last"})
    assert (one["body"]["model"], other["body"]["model"], one["body"]["seed"]) == ("m", "last", 1)


def test_a_line_keeps_its_name_and_its_url() -> None:
    line = {"custom_id": "mine", "url": "/v1/embeddings", "body": {"model": "m", "input": "x"}}
    assert made(line) == [{**line, "method": "POST"}]


def test_names_may_be_given() -> None:
    assert [line["custom_id"] for line in made("a", "b", model="m", custom_ids=iter(["x", "y"]))] == ["x", "y"]
    with pytest.raises(ValueError, match="request 2 has no custom id"):
        made("a", "b", model="m", custom_ids=["x"])


@pytest.mark.parametrize(
    ("requests", "told"),
    [
        (["fine", 7], "request 2: a int is no request"),
        ([A_BODY, NO_MODEL], "request 2: it names no model"),
        ([{"custom_id": "a", "body": "text"}], "request 1: its body is no object"),
    ],
)
def test_what_is_no_request_is_told_with_its_number(requests: list[Any], told: str) -> None:
    recipe = Recipe(model="m" if requests[0] == "fine" else None)
    with pytest.raises(ValueError, match=told):
        list(lines(requests, recipe))


def test_a_lone_prompt_is_no_file() -> None:
    with pytest.raises(ValueError, match="is no file; a prompt of its own goes into a list"):
        list(each("What is the capital of Japan?", Recipe(model="m")))


def test_a_file_goes_as_it_is_and_its_first_line_tells_the_endpoint(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'\n{"custom_id": "a", "url": "/v1/embeddings", "body": {}}\nbroken\n')
    with spooled(path, Recipe()) as spool:
        assert (spool.name, spool.endpoint, spool.file.read()) == ("in.jsonl", "/v1/embeddings", path.read_bytes())


def test_a_file_with_something_to_fill_in_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"prompt": "x"}}\n')
    with spooled(str(path), Recipe(model="m")) as spool:
        assert json.loads(spool.file.read())["body"] == {"model": "m", "prompt": "x"}
        assert spool.endpoint == "/v1/completions"


def test_a_broken_line_is_told_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"custom_id": "a", "body": {"model": "m"}}\n\n[1]\n')
    with pytest.raises(ValueError, match="line 3 must be a JSON object"), spooled(path, Recipe(model="m")):
        pass


@pytest.mark.slow("writes 50,000 lines")
def test_a_long_generator_is_not_held_in_memory() -> None:
    """G12."""
    requests: Requests = (f"{n} " + "x" * 1_000 for n in range(50_000))
    tracemalloc.start()
    try:
        with spooled(requests, Recipe(model="m")) as spool:
            assert spool.file.seek(0, 2) > 50_000_000
            assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_what_is_added_goes_in_calls_that_are_not_too_large() -> None:
    counted = [len(some) for some in chunks((f"{n}" for n in range(2_500)), Recipe(model="m"))]
    assert counted == [MOST_ADDED, MOST_ADDED, 500]
    large = ["x" * 1_500_000] * 5
    assert [len(some) for some in chunks(large, Recipe(model="m"))] == [2, 2, 1]
    [[first]] = chunks(["a"], Recipe(model="m"), there=7)
    assert first["batch_request_id"] == "request-8"
    with pytest.raises(ValueError, match="has no form here"):
        list(chunks(["a"], Recipe(model="m", endpoint="/v1/embeddings")))
