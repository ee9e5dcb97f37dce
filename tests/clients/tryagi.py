"""What the C# client tryAGI Xai sends and how strictly it reads: `python -m tests.clients.tryagi URL …`.

There is no .NET here. These records have the members which that client's generated code parses, with their types, and
are read as System.Text.Json reads them: each may be missing or null, others are left alone, but a number in quotes or
a whole number with a fraction is an error. Its rules of polling stand in `submitted`, `polled` and `parsed`.
"""

import json
import time
from typing import Any, TypeVar

import msgspec

from tests.clients.checks import Checks, Given, main

CHECKS = Checks("tryAGI Xai (C#), its strict reader", "sources of August 2026")
BASE = "/xai/v1"
"""It is made with `baseUri: new Uri("http://host:port/xai/v1")`."""
EVERY = 0.1
"""Seconds between looks, where it takes 5."""

T = TypeVar("T")


class Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class ToolCall(msgspec.Struct):
    id: str | None = None
    type: str | None = None
    function: Function | None = None


class Message(msgspec.Struct):
    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None


class Choice(msgspec.Struct):
    index: int | None = None
    message: Message | None = None
    finish_reason: str | None = None


class Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None


class Completion(msgspec.Struct):
    """Of a submit and of a look as well."""

    id: str | None = None
    object: str | None = None
    created: int | None = None
    model: str | None = None
    choices: list[Choice] | None = None
    usage: Usage | None = None
    system_fingerprint: str | None = None


class Started(msgspec.Struct):
    request_id: str | None = None


class Film(msgspec.Struct):
    url: str | None = None
    duration: int | None = None
    respect_moderation: bool | None = None


class Video(msgspec.Struct):
    status: str | None = None
    model: str | None = None
    video: Film | None = None


class State(msgspec.Struct):
    num_requests: int | None = None
    num_pending: int | None = None
    num_success: int | None = None
    num_error: int | None = None
    num_cancelled: int | None = None


class Cost(msgspec.Struct):
    total_cost_usd_ticks: int | None = None


class Batch(msgspec.Struct):
    batch_id: str | None = None
    name: str | None = None
    state: State | None = None
    expires_at: str | None = None
    cost_breakdown: Cost | None = None


class Batches(msgspec.Struct):
    batches: list[Batch] | None = None
    pagination_token: str | None = None


class Metadata(msgspec.Struct):
    batch_request_id: str | None = None
    state: str | None = None


class Overview(msgspec.Struct):
    batch_request_metadata: list[Metadata] | None = None
    pagination_token: str | None = None


class Succeeded(msgspec.Struct):
    batch_request_id: str | None = None
    response: dict[str, Any] | None = None


class Failed(msgspec.Struct):
    batch_request_id: str | None = None
    error_message: str | None = None


class Results(msgspec.Struct):
    succeeded: list[Succeeded] | None = None
    failed: list[Failed] | None = None
    pagination_token: str | None = None


class File(msgspec.Struct):
    id: str | None = None
    object: str | None = None
    bytes: int | None = None
    created_at: int | None = None
    filename: str | None = None
    purpose: str | None = None


class Model(msgspec.Struct):
    id: str | None = None
    object: str | None = None
    created: int | None = None
    owned_by: str | None = None


class Models(msgspec.Struct):
    data: list[Model] | None = None
    object: str | None = None


class ApiException(Exception):
    """Any status that is no 2xx, and any 2xx that is not the JSON it should be."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body


def parsed(given: Given, kind: type[T], method: str, path: str, body: object = None) -> T:
    status, told = given.http(method, BASE + path, body)
    if not 200 <= status < 300:
        raise ApiException(status, told)
    try:
        return msgspec.json.decode(json.dumps(told), type=kind)
    except msgspec.ValidationError as error:
        raise ApiException(status, f"{error}: {told}") from error


def submitted(given: Given, words: str, **members: Any) -> str:
    """A deferred request's id: the member `id`, which must not be null."""
    body = {"model": "m", "messages": [{"role": "user", "content": words}], "deferred": True, **members}
    completion = parsed(given, Completion, "POST", "/chat/completions", body)
    assert completion.id is not None
    return completion.id


def polled(given: Given, request_id: str) -> Completion:
    """The completion: polled until there are choices, each answer parsed."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        completion = parsed(given, Completion, "GET", f"/chat/deferred-completion/{request_id}")
        if completion.choices:
            return completion
        time.sleep(EVERY)
    raise TimeoutError(request_id)


def refused(given: Given, call: Any) -> ApiException:
    try:
        got = call()
    except ApiException as error:
        return error
    raise AssertionError(got)


@CHECKS("Chat.CreateChatCompletionAsync")
def is_answered(given: Given) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    completion = parsed(given, Completion, "POST", "/chat/completions", body)
    assert completion.choices
    message = completion.choices[0].message
    assert message is not None
    assert message.content == "Hello from the script."


@CHECKS("Chat.CreateDeferredAndWaitAsync")
def is_deferred_and_polled(given: Given) -> None:
    completion = polled(given, submitted(given, "Later"))
    assert completion.choices
    assert completion.usage is not None
    assert (completion.choices[0].finish_reason, completion.usage.total_tokens) == ("stop", 9)


@CHECKS("Chat.GetDeferredCompletionAsync while it is pending")
def a_pending_one_is_json(given: Given) -> None:
    request_id = submitted(given, "Slow")
    pending = parsed(given, Completion, "GET", f"/chat/deferred-completion/{request_id}")
    given.http("POST", f"/v1/requests/{request_id}/cancel", {})
    assert pending.choices == []


@CHECKS("Chat.CreateDeferredAndWaitAsync of one that fails")
def a_failure_is_no_2xx(given: Given) -> None:
    request_id = submitted(given, "Fail")
    error = refused(given, lambda: polled(given, request_id))
    assert (error.status, set(error.body)) == (400, {"code", "error"})
    assert error.body["error"] == "I will not do that."


@CHECKS("Chat.CreateDeferredAndWaitAsync of one that is cancelled")
def a_cancelled_one_is_no_2xx(given: Given) -> None:
    request_id = submitted(given, "Slow")
    given.http("POST", f"/v1/requests/{request_id}/cancel", {})
    assert refused(given, lambda: polled(given, request_id)).status == 409


@CHECKS("Chat.CreateDeferredAndWaitAsync (tools)")
def a_tool_is_called(given: Given) -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    completion = polled(given, submitted(given, "Weather?", tools=tools))
    assert completion.choices
    message = completion.choices[0].message
    assert message is not None
    assert message.tool_calls
    assert message.tool_calls[0].function == Function("weather", '{"city": "Oslo"}')


def generated(given: Given, **members: Any) -> Video:
    """As GenerateAndWaitAsync: `done` is good, `failed` and `expired` are errors, all else is polled again."""
    body = {"model": "preview", "prompt": "A sunset", "duration": 1, "aspect_ratio": "1:1", **members}
    started = parsed(given, Started, "POST", "/videos/generations", body)
    assert started.request_id is not None
    end = time.monotonic() + 60
    while time.monotonic() < end:
        video = parsed(given, Video, "GET", f"/videos/{started.request_id}")
        match video.status:
            case "done":
                return video
            case "failed" | "expired":
                raise InterruptedError(video.status)
            case _:
                time.sleep(EVERY)
    raise TimeoutError(started.request_id)


@CHECKS("Videos.GenerateAndWaitAsync")
def a_video_is_made(given: Given) -> None:
    video = generated(given)
    assert video.video is not None
    assert video.video.url
    assert (video.video.duration, video.video.respect_moderation) == (1, True)


@CHECKS("Videos.GenerateAndWaitAsync (video_url)")
def a_video_is_edited(given: Given) -> None:
    first = generated(given).video
    assert first is not None
    body = {"model": "preview", "prompt": "black and white", "video_url": first.url}
    started = parsed(given, Started, "POST", "/videos/generations", body)
    looks = (parsed(given, Video, "GET", f"/videos/{started.request_id}?wait=20") for _ in range(3))
    assert any(video.status == "done" for video in looks)


@CHECKS("Videos.GenerateAndWaitAsync of one that fails")
def a_failed_video_is_told(given: Given) -> None:
    try:
        video = generated(given, duration=90)
    except InterruptedError as error:
        assert str(error) == "failed"  # noqa: PT017 - what matters is which of its statuses it was
    else:
        raise AssertionError(video)


def a_batch(given: Given, *words: str) -> str:
    batch = parsed(given, Batch, "POST", "/batches", {"name": "nightly"})
    assert batch.batch_id is not None
    items = [
        {
            "batch_request_id": f"row-{number}",
            "batch_request": {"chat_get_completion": {"model": "m", "messages": [{"role": "user", "content": said}]}},
        }
        for number, said in enumerate(words)
    ]
    added = parsed(given, Batch, "POST", f"/batches/{batch.batch_id}/requests", {"batch_requests": items})
    assert added.state is not None
    assert (added.name, added.state.num_requests) == ("nightly", len(words))
    assert added.expires_at
    return batch.batch_id


def done(given: Given, batch_id: str) -> Batch:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        batch = parsed(given, Batch, "GET", f"/batches/{batch_id}")
        assert batch.state is not None
        if batch.state.num_pending == 0:
            return batch
        time.sleep(EVERY)
    raise TimeoutError(batch_id)


@CHECKS("Batches.CreateBatchAsync, AddBatchRequestsAsync, GetBatchAsync")
def a_batch_is_done(given: Given) -> None:
    batch = done(given, a_batch(given, "one", "Fail"))
    assert batch.state == State(2, 0, 1, 1, 0)
    assert batch.cost_breakdown is not None
    assert batch.cost_breakdown.total_cost_usd_ticks == 0


@CHECKS("Batches.ListBatchResultsAsync")
def results_are_listed(given: Given) -> None:
    batch_id = a_batch(given, "one", "Fail")
    done(given, batch_id)
    results = parsed(given, Results, "GET", f"/batches/{batch_id}/results?page_size=10")
    assert results.succeeded
    assert results.failed == [Failed("row-1", "I will not do that.")]
    assert results.succeeded[0].batch_request_id == "row-0"
    assert results.pagination_token is None


@CHECKS("Batches.ListBatchRequestsAsync")
def requests_are_listed(given: Given) -> None:
    batch_id = a_batch(given, "one", "two")
    done(given, batch_id)
    listed = parsed(given, Overview, "GET", f"/batches/{batch_id}/requests?page_size=10")
    assert listed.batch_request_metadata == [Metadata("row-0", "succeeded"), Metadata("row-1", "succeeded")]


@CHECKS("Batches.ListBatchesAsync")
def batches_are_listed(given: Given) -> None:
    ids = [a_batch(given, "one") for _ in range(2)]
    listed = parsed(given, Batches, "GET", "/batches?page_size=100")
    assert set(ids) <= {batch.batch_id for batch in listed.batches or []}


@CHECKS("Batches.CancelBatchAsync")
def a_batch_is_cancelled(given: Given) -> None:
    batch_id = a_batch(given, "Slow", "Slow")
    parsed(given, Batch, "POST", f"/batches/{batch_id}:cancel")
    state = done(given, batch_id).state
    assert state is not None
    assert state.num_cancelled == 2


@CHECKS("Files.ListFilesAsync")
def files_are_listed(given: Given) -> None:
    class Files(msgspec.Struct):
        data: list[File] | None = None

    assert parsed(given, Files, "GET", "/files").data is not None


@CHECKS("Models.ListModelsAsync")
def models_are_listed(given: Given) -> None:
    models = parsed(given, Models, "GET", "/models").data or []
    assert [model.id for model in models] == ["m", "preview"]


@CHECKS("Models.ListLanguageModelsAsync and its like, ApiKeys.GetApiKeyAsync")
def some_are_not_served(given: Given) -> str:
    for path in ("/language-models", "/embedding-models", "/image-generation-models", "/api-key"):
        assert refused(given, lambda path=path: parsed(given, Models, "GET", path)).status == 404
    return "404: not served over HTTP; `Models.ListModelsAsync` lists the models"


@CHECKS("a wrong key")
def a_wrong_key_is_refused(given: Given) -> None:
    status, told = given.http("GET", f"{BASE}/models", authorization="Bearer rc_wrong")
    assert (status, set(told)) == (401, {"code", "error"})


if __name__ == "__main__":
    main(CHECKS)
