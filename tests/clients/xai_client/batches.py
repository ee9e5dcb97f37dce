"""Batches: filled by calls or from a file, read as they get done."""

import json
from typing import Any

import grpc
from xai_sdk.chat import user

from tests.clients.checks import Given, unique, until
from tests.clients.xai_client import CHECKS
from tests.clients.xai_client.asking import HELLO, refused


def a_batch(given: Given, *words: str) -> str:
    """The id of a batch with a chat for each of these."""
    batch = given.client.batch.create(batch_name="checks")
    chats = [
        given.client.chat.create(model="m", messages=[user(said)], batch_request_id=f"row-{number}")
        for number, said in enumerate(words)
    ]
    given.client.batch.add(batch.batch_id, batch_requests=chats)
    return batch.batch_id


def done(given: Given, batch_id: str) -> Any:
    return until(lambda: given.client.batch.get(batch_id), lambda one: one.state.num_pending == 0)


@CHECKS("batch.create")
def is_created(given: Given) -> None:
    batch = given.client.batch.create(batch_name="nightly")
    assert (batch.name, batch.state.num_requests, batch.HasField("cancel_time")) == ("nightly", 0, False)
    assert batch.expire_time.seconds > batch.create_time.seconds


@CHECKS("batch.create (input_file_id)")
def is_created_from_a_file(given: Given) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    line = {"custom_id": "one", "method": "POST", "url": "/v1/chat/completions", "body": body}
    uploaded = given.client.files.upload(json.dumps(line).encode(), filename="in.jsonl")
    batch = given.client.batch.create(batch_name="from a file", input_file_id=uploaded.id)
    assert (batch.state.num_requests, batch.input_file_id) == (1, uploaded.id)
    done(given, batch.batch_id)
    [result] = given.client.batch.list_batch_results(batch.batch_id).succeeded
    assert (result.batch_request_id, result.response.content) == ("one", HELLO)


@CHECKS("batch.add, batch.get")
def is_worked_off(given: Given) -> None:
    state = done(given, a_batch(given, "one", "Fail", "three")).state
    assert (state.num_requests, state.num_success, state.num_error, state.num_cancelled) == (3, 2, 1, 0)


@CHECKS("batch.add (video.prepare)")
def a_video_is_made(given: Given) -> None:
    batch = given.client.batch.create(batch_name="videos")
    prepared = given.client.video.prepare("A sunset", model="preview", duration=1, batch_request_id="film")
    given.client.batch.add(batch.batch_id, batch_requests=[prepared])
    done(given, batch.batch_id)
    [result] = given.client.batch.list_batch_results(batch.batch_id).succeeded
    assert (result.batch_request_id, result.video_response.duration) == ("film", 1)
    assert result.video_response.url


@CHECKS("batch.list")
def are_listed_by_page(given: Given) -> None:
    ids = [given.client.batch.create(batch_name=unique("listed")).batch_id for _ in range(3)]
    found: list[str] = []
    token = None
    while True:
        page = given.client.batch.list(limit=2, pagination_token=token)
        found += [batch.batch_id for batch in page.batches]
        if not (token := page.pagination_token):
            break
    assert [each for each in found if each in ids] in (ids, ids[::-1])


@CHECKS("batch.list_batch_requests")
def requests_are_listed(given: Given) -> None:
    batch_id = a_batch(given, "one", "Fail")
    done(given, batch_id)
    listed = given.client.batch.list_batch_requests(batch_id).batch_request_metadata
    states = {each.batch_request_id: each.State.Name(each.state).removeprefix("STATE_") for each in listed}
    assert states == {"row-0": "SUCCEEDED", "row-1": "FAILED"}, states
    assert {each.model for each in listed} == {"m"}


@CHECKS("batch.list_batch_results")
def results_are_listed(given: Given) -> None:
    batch_id = a_batch(given, "one", "Fail", "three")
    done(given, batch_id)
    page = given.client.batch.list_batch_results(batch_id, limit=2)
    rest = given.client.batch.list_batch_results(batch_id, pagination_token=page.pagination_token)
    results = {result.batch_request_id: result for result in [*page.results, *rest.results]}
    assert (sorted(results), rest.pagination_token) == (["row-0", "row-1", "row-2"], None)
    assert results["row-0"].response.content == HELLO
    failed = results["row-1"]
    assert (failed.is_success, failed.has_error, failed.error_message) == (False, True, "I will not do that.")


@CHECKS("batch.cancel")
def is_cancelled(given: Given) -> None:
    batch_id = a_batch(given, "Slow", "Slow")
    given.client.batch.cancel(batch_id)
    batch = done(given, batch_id)
    assert (batch.state.num_cancelled, batch.HasField("cancel_time")) == (2, True)
    failed = given.client.batch.list_batch_results(batch_id).failed
    assert [result.proto.error.code for result in failed] == [1, 1]


@CHECKS("batch.add to one that is cancelled")
def a_cancelled_one_takes_nothing(given: Given) -> None:
    batch_id = a_batch(given, "one")
    given.client.batch.cancel(batch_id)
    chat = given.client.chat.create(model="m", messages=[user("Hi")])
    refused(grpc.StatusCode.FAILED_PRECONDITION, lambda: given.client.batch.add(batch_id, batch_requests=[chat]))


@CHECKS("batch.get of nobody's")
def an_unknown_one(given: Given) -> None:
    refused(grpc.StatusCode.NOT_FOUND, lambda: given.client.batch.get("00000000-0000-7000-8000-000000000000"))
