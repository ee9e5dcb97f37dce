"""Responses, in the background above all."""

from typing import Any

import openai
from pydantic import BaseModel

from tests.clients.checks import Given, raises, until
from tests.clients.openai_client import CHECKS
from tests.clients.openai_client.chat import HELLO

RUNNING = {"queued", "in_progress"}


class Person(BaseModel):
    name: str
    year: int


def in_background(given: Given, words: str = "Hi", **options: Any) -> Any:
    return given.client.responses.create(model="m", input=words, background=True, **options)


def ended(given: Given, response_id: str) -> Any:
    return until(lambda: given.client.responses.retrieve(response_id), lambda one: one.status not in RUNNING)


@CHECKS("responses.create")
def is_answered(given: Given) -> None:
    response = given.client.responses.create(model="m", input="Hi")
    assert (response.status, response.output_text) == ("completed", HELLO)


@CHECKS("responses.create (stream)")
def is_streamed(given: Given) -> None:
    events = list(given.client.responses.create(model="m", input="Hi", stream=True))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == HELLO
    assert events[-1].type == "response.completed"


@CHECKS("responses.create (background), responses.retrieve")
def runs_in_the_background(given: Given) -> None:
    queued = in_background(given, metadata={"team": "blue"})
    assert (queued.status in RUNNING, queued.output, queued.background) == (True, [], True)
    response = ended(given, queued.id)
    assert (response.id[:5], response.status, response.output_text) == ("resp_", "completed", HELLO)
    assert response.usage.total_tokens == 9
    assert response.error is None


@CHECKS("responses.create (background, stream)")
def is_streamed_from_the_background(given: Given) -> None:
    events = list(in_background(given, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1].response.output_text == HELLO


@CHECKS("responses.retrieve (stream, starting_after)")
def a_stream_goes_on(given: Given) -> None:
    events = list(in_background(given, stream=True))
    response_id = events[-1].response.id
    rest = list(given.client.responses.retrieve(response_id, stream=True, starting_after=4))
    assert [(event.sequence_number, event.type) for event in rest] == [
        (event.sequence_number, event.type) for event in events[5:]
    ]


@CHECKS("responses.create (previous_response_id)")
def a_talk_goes_on(given: Given) -> None:
    first = ended(given, in_background(given).id)
    second = ended(given, in_background(given, "More", previous_response_id=first.id).id)
    assert (second.status, second.previous_response_id) == ("completed", first.id)


@CHECKS("responses.create (background) that fails")
def a_failure_is_told(given: Given) -> None:
    response = ended(given, in_background(given, "Fail").id)
    assert (response.status, response.error.message) == ("failed", "I will not do that.")


@CHECKS("responses.parse (background)", needs="responses.parse")
def is_parsed(given: Given) -> None:
    response = given.client.responses.create(
        model="m",
        input="Who?",
        background=True,
        text={"format": {"type": "json_schema", "name": "person", "schema": Person.model_json_schema()}},
    )
    ended(given, response.id)


@CHECKS("responses.cancel")
def is_cancelled(given: Given) -> None:
    response = in_background(given, "Slow")
    for _ in range(2):
        cancelled = given.client.responses.cancel(response.id)
        assert (cancelled.status, cancelled.output) == ("cancelled", [])
    done = ended(given, in_background(given).id)
    refused = raises(openai.BadRequestError, lambda: given.client.responses.cancel(done.id))
    assert refused.type == "invalid_request_error"


@CHECKS("responses.delete")
def is_deleted(given: Given) -> None:
    response = ended(given, in_background(given).id)
    assert given.client.responses.delete(response.id) is None
    raises(openai.NotFoundError, lambda: given.client.responses.retrieve(response.id))


@CHECKS("responses.input_items.list")
def what_it_was_asked_is_listed(given: Given) -> None:
    response = in_background(given, "What I asked")
    [item] = list(given.client.responses.input_items.list(response.id))
    assert (item.type, item.role, item.content[0].text) == ("message", "user", "What I asked")
