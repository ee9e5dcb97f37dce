"""Chat completions: answered at once, streamed, and deferred by `extra_body`."""

from typing import Any

import openai
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from tests.clients.checks import Given, raises, unique, until
from tests.clients.openai_client import CHECKS

HELLO = "Hello from the script."
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
]


class Person(BaseModel):
    name: str
    year: int


def said(words: str) -> list[Any]:
    return [{"role": "user", "content": words}]


def deferred(given: Given, words: str, **options: Any) -> Any:
    create = given.client.chat.completions.create
    return create(model="m", messages=said(words), extra_body={"deferred": True, **options})


def look(given: Given, request_id: str, query: str = "") -> Any:
    return given.client.get(f"/chat/deferred-completion/{request_id}{query}", cast_to=ChatCompletion)


def collected(given: Given, request_id: str) -> Any:
    return until(lambda: look(given, request_id), lambda completion: bool(completion.choices))


@CHECKS("chat.completions.create")
def is_answered(given: Given) -> None:
    completion = given.client.chat.completions.create(model="m", messages=said("Hi"))
    assert (completion.choices[0].message.content, completion.choices[0].finish_reason) == (HELLO, "stop")
    assert (completion.usage.total_tokens, completion.usage.prompt_tokens_details.cached_tokens) == (9, 3)
    assert completion._request_id


@CHECKS("chat.completions.create (stream)")
def is_streamed(given: Given) -> None:
    stream = given.client.chat.completions.create(
        model="m", messages=said("Hi"), stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == HELLO
    assert (last.choices, last.usage.total_tokens) == ([], 9)


@CHECKS("chat.completions.create (tools)")
def a_tool_is_called(given: Given) -> None:
    completion = given.client.chat.completions.create(model="m", messages=said("Weather?"), tools=TOOLS)
    [call] = completion.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("weather", '{"city": "Oslo"}')
    assert completion.choices[0].finish_reason == "tool_calls"


@CHECKS("chat.completions.create (n, logprobs)")
def several_choices_have_probabilities(given: Given) -> None:
    completion = given.client.chat.completions.create(
        model="m", messages=said("Hi"), n=2, logprobs=True, top_logprobs=1
    )
    assert [choice.index for choice in completion.choices] == [0, 1]
    assert completion.choices[1].logprobs.content[0].top_logprobs[0].token == "Hello"


@CHECKS("chat.completions.create (an image)")
def an_image_goes_along(given: Given) -> None:
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
    ]
    completion = given.client.chat.completions.create(model="m", messages=[{"role": "user", "content": parts}])
    assert completion.choices[0].message.content == "Saw 'What is it?', image data:image/png;base64"


@CHECKS("chat.completions.parse")
def an_answer_is_parsed(given: Given) -> None:
    completion = given.client.chat.completions.parse(model="m", messages=said("Who?"), response_format=Person)
    assert completion.choices[0].message.parsed == Person(name="Ada", year=1815)


@CHECKS("chat.completions.with_raw_response.create")
def a_raw_response_has_headers(given: Given) -> None:
    raw = given.client.chat.completions.with_raw_response.create(model="m", messages=said("Hi"))
    assert raw.status_code == 200
    assert raw.headers["x-request-id"]
    assert raw.headers["content-type"].startswith("application/json")
    assert raw.parse().choices[0].message.content == HELLO


@CHECKS("chat.completions.create (extra_body deferred)")
def is_deferred(given: Given) -> None:
    ticket = deferred(given, "Later")
    assert (ticket.id[:4], ticket.request_id, ticket.choices) == ("req_", ticket.id, [])
    completion = collected(given, ticket.id)
    assert (completion.choices[0].message.content, completion.usage.total_tokens) == (HELLO, 9)
    assert collected(given, ticket.id) == completion, "a result can be read again"


@CHECKS("chat.completions.create (deferred, tools)")
def a_deferred_one_calls_a_tool(given: Given) -> None:
    ticket = given.client.chat.completions.create(
        model="m", messages=said("Weather?"), tools=TOOLS, extra_body={"deferred": True}
    )
    [call] = collected(given, ticket.id).choices[0].message.tool_calls
    assert (call.id, call.function.arguments) == ("call_1", '{"city": "Oslo"}')


@CHECKS('get("/chat/deferred-completion/…") while it is pending')
def a_pending_one_has_no_choices(given: Given) -> None:
    ticket = deferred(given, "Slow")
    pending = look(given, ticket.id)
    assert (type(pending), pending.id, pending.choices) == (ChatCompletion, ticket.id, [])
    assert pending.model_extra["status"] in {"pending", "processing"}
    given.client.post(f"/requests/{ticket.id}/cancel", cast_to=object)


@CHECKS('get("/chat/deferred-completion/…?wait=…")')
def a_look_is_held(given: Given) -> None:
    completion = look(given, deferred(given, "Soon").id, "?wait=20")
    assert completion.choices[0].message.content == HELLO


@CHECKS('get("/chat/deferred-completion/…") of one that failed')
def a_failure_is_raised(given: Given) -> None:
    ticket = deferred(given, "Fail")
    refused = raises(openai.BadRequestError, lambda: collected(given, ticket.id))
    assert (refused.code, "I will not do that." in str(refused)) == ("refused", True)


@CHECKS('post("/requests/…/cancel")')
def one_is_cancelled(given: Given) -> None:
    ticket = deferred(given, "Slow")
    given.client.post(f"/requests/{ticket.id}/cancel", cast_to=object)
    refused = raises(openai.ConflictError, lambda: collected(given, ticket.id))
    assert (refused.code, refused.response.headers["x-should-retry"]) == ("cancelled", "false")


@CHECKS("chat.completions.create (Idempotency-Key)")
def a_key_makes_it_safe_to_repeat(given: Given) -> None:
    words = unique("Once")
    create = given.client.chat.completions.create
    options = {"extra_body": {"deferred": True}, "extra_headers": {"Idempotency-Key": words}}
    first, again = (create(model="m", messages=said(words), **options) for _ in range(2))
    assert first.id == again.id
    other = raises(openai.ConflictError, lambda: create(model="m", messages=said("Other"), **options))
    assert other.code == "idempotency_conflict"
