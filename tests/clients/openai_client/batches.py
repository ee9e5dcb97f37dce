"""Batches: a file of requests in, a file of answers out."""

import json
from typing import Any

import openai

from tests.clients.checks import Given, raises, until
from tests.clients.openai_client import CHECKS
from tests.clients.openai_client.files import upload

CHAT = "/v1/chat/completions"
ENDED = {"completed", "failed", "cancelled", "expired"}


def a_batch(given: Given, *words: str, url: str = CHAT, **options: Any) -> Any:
    lines = [
        {
            "custom_id": f"row-{number}",
            "method": "POST",
            "url": url,
            "body": {"model": "m", "messages": [{"role": "user", "content": said}]},
        }
        for number, said in enumerate(words)
    ]
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    file = upload(given, data, "in.jsonl", "batch")
    return given.client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h", **options)


def ended(given: Given, batch_id: str) -> Any:
    return until(lambda: given.client.batches.retrieve(batch_id), lambda batch: batch.status in ENDED)


def lines_of(given: Given, file_id: str) -> dict[str, Any]:
    text = given.client.files.content(file_id).text
    return {line["custom_id"]: line for line in map(json.loads, text.splitlines())}


@CHECKS("batches.create")
def is_created(given: Given) -> None:
    batch = a_batch(given, "Hi", metadata={"team": "blue"})
    assert (batch.object, batch.endpoint, batch.completion_window) == ("batch", CHAT, "24h")
    assert (batch.status in {"validating", "in_progress"}, batch.metadata) == (True, {"team": "blue"})
    assert (batch.expires_at - batch.created_at, batch.id[:6]) == (86_400, "batch_")


@CHECKS("batches.retrieve, files.content of its output")
def is_completed(given: Given) -> None:
    batch = ended(given, a_batch(given, "one", "Fail", "three").id)
    counts = batch.request_counts
    assert (batch.status, counts.total, counts.completed, counts.failed) == ("completed", 3, 2, 1)
    output, errors = lines_of(given, batch.output_file_id), lines_of(given, batch.error_file_id)
    assert sorted(output) == ["row-0", "row-2"]
    answer = output["row-2"]["response"]
    assert (answer["status_code"], output["row-2"]["error"]) == (200, None)
    assert answer["body"]["choices"][0]["message"]["content"] == "Hello from the script."
    refused = errors["row-1"]["response"]
    assert (refused["status_code"], refused["body"]["error"]["code"]) == (400, "refused")
    assert batch.usage.total_tokens == 18


@CHECKS("batches.create of a bad file")
def a_bad_file_fails(given: Given) -> None:
    batch = ended(given, a_batch(given, "Hi", url="/v1/embeddings").id)
    assert (batch.status, batch.errors.object, batch.errors.data[0].code) == ("failed", "list", "invalid_url")
    assert batch.output_file_id is None


@CHECKS("batches.create of no file")
def an_unknown_file(given: Given) -> None:
    create = given.client.batches.create
    refused = raises(
        openai.APIStatusError,
        lambda: create(input_file_id="file-nope", endpoint=CHAT, completion_window="24h"),
    )
    assert (refused.status_code in {400, 404}, refused.param) == (True, "input_file_id")


@CHECKS("batches.list")
def are_listed_by_page(given: Given) -> None:
    ids = [a_batch(given, "Hi").id for _ in range(3)]
    listed = [batch.id for batch in given.client.batches.list(limit=2)]
    assert [batch for batch in listed if batch in ids] == ids[::-1]


@CHECKS("batches.cancel")
def is_cancelled(given: Given) -> None:
    batch = a_batch(given, "Slow", "Slow")
    assert given.client.batches.cancel(batch.id).status in {"cancelling", "cancelled"}
    assert given.client.batches.cancel(batch.id).status in {"cancelling", "cancelled"}
    assert ended(given, batch.id).status == "cancelled"
    assert given.client.batches.retrieve(batch.id).cancelled_at is not None


@CHECKS("batches.cancel of one that has ended")
def one_that_has_ended_stays(given: Given) -> None:
    batch = ended(given, a_batch(given, "Hi").id)
    raw = raises(openai.ConflictError, lambda: given.client.batches.cancel(batch.id))
    assert raw.response.headers["x-should-retry"] == "false"
    assert raw.response.request.headers["x-stainless-retry-count"] == "0"
