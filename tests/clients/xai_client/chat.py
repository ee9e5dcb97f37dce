"""Chats that are answered while the caller waits."""

from typing import Any

import grpc
from pydantic import BaseModel
from xai_sdk.chat import assistant, developer, required_tool, system, tool, tool_result, user
from xai_sdk.search import SearchParameters
from xai_sdk.tools import web_search

from tests.clients.checks import Given, differs, unique
from tests.clients.xai_client import CHECKS
from tests.clients.xai_client.asking import HELLO, a_talk, refused

CITY = {"type": "object", "properties": {"city": {"type": "string"}}}


class Person(BaseModel):
    name: str
    year: int


def weather() -> Any:
    return tool("weather", "Tells the weather", CITY)


@CHECKS("chat.create(…).sample")
def is_answered(given: Given) -> None:
    response = a_talk(given).sample()
    assert (response.content, response.role, response.finish_reason) == (HELLO, "ROLE_ASSISTANT", "REASON_STOP")
    assert (response.usage.prompt_tokens, response.usage.completion_tokens, response.usage.total_tokens) == (5, 4, 9)
    assert (response.usage.cached_prompt_text_tokens, response.system_fingerprint) == (3, "fp_script")
    assert response.id


@CHECKS("chat.sample (a talk)")
def a_talk_goes_on(given: Given) -> None:
    chat = given.client.chat.create(
        model="m", messages=[system("Be brief"), developer("Be kind"), user("Hi"), assistant("Yes?")]
    )
    chat.append(user("More"))
    response = chat.sample()
    assert response.content == "Heard system, developer, user, assistant, user."
    chat.append(response)
    chat.append(user("And more"))
    assert chat.sample().content.count("assistant") == 2


@CHECKS("chat.sample (tools)")
def a_tool_is_called(given: Given) -> None:
    chat = a_talk(given, "Weather?", tools=[weather()], tool_choice=required_tool("weather"))
    response = chat.sample()
    [call] = response.tool_calls
    assert (call.id, call.function.name, call.function.arguments) == ("call_1", "weather", '{"city": "Oslo"}')
    assert response.finish_reason == "REASON_TOOL_CALLS"
    chat.append(response)
    chat.append(tool_result("Rain", tool_call_id=call.id))
    assert chat.sample().content == "Heard user, assistant, tool."


@CHECKS("chat.parse")
def an_answer_is_parsed(given: Given) -> None:
    response, person = a_talk(given, "Who?").parse(Person)
    assert (person, response.finish_reason) == (Person(name="Ada", year=1815), "REASON_STOP")


@CHECKS("chat.sample (response_format)")
def an_answer_has_a_shape(given: Given) -> None:
    response = a_talk(given, "Who?", response_format=Person).sample()
    assert Person.model_validate_json(response.content).year == 1815


@CHECKS("chat.sample (reasoning_effort)")
def its_thoughts_come_along(given: Given) -> None:
    response = a_talk(given, reasoning_effort="high").sample()
    assert (response.reasoning_content, response.content) == ("Let me see.", HELLO)
    assert response.usage.reasoning_tokens == 2


@CHECKS("chat.sample (logprobs)")
def tokens_have_probabilities(given: Given) -> None:
    [token] = a_talk(given, logprobs=True, top_logprobs=2).sample().logprobs.content
    assert (token.token, round(token.logprob, 3), len(token.top_logprobs)) == ("Hello", -0.5, 2)


@CHECKS("chat.sample (max_tokens)")
def it_may_be_cut_short(given: Given) -> None:
    assert a_talk(given, max_tokens=1).sample().finish_reason == "REASON_MAX_LEN"


@CHECKS("chat.sample_batch")
def several_answers_come(given: Given) -> None:
    responses = a_talk(given).sample_batch(3)
    assert [response.content for response in responses] == [HELLO] * 3


@CHECKS("chat.stream")
def is_streamed(given: Given) -> None:
    chunks: list[Any] = []
    for response, chunk in a_talk(given).stream():
        chunks.append((response, chunk.content))
    last = chunks[-1][0]
    assert "".join(content for _, content in chunks) == last.content == HELLO
    assert (last.role, last.finish_reason, last.usage.total_tokens) == ("ROLE_ASSISTANT", "REASON_STOP", 9)
    assert len([content for _, content in chunks if content]) > 1


@CHECKS("chat.stream (tools)")
def a_tool_call_is_streamed(given: Given) -> None:
    response = [response for response, _ in a_talk(given, "Weather?", tools=[weather()]).stream()][-1]
    [call] = response.tool_calls
    assert (call.function.name, call.function.arguments) == ("weather", '{"city": "Oslo"}')
    assert response.finish_reason == "REASON_TOOL_CALLS"


@CHECKS("chat.stream (reasoning_effort)")
def thoughts_are_streamed(given: Given) -> None:
    response = [response for response, _ in a_talk(given, reasoning_effort="low").stream()][-1]
    assert (response.reasoning_content, response.content) == ("Let me see.", HELLO)


@CHECKS("chat.stream_batch")
def several_are_streamed(given: Given) -> None:
    responses = [responses for responses, _ in a_talk(given).stream_batch(2)][-1]
    assert [response.content for response in responses] == [HELLO] * 2


@CHECKS("error: a wrong key")
def a_wrong_key(given: Given) -> None:
    from xai_sdk import Client

    with Client(api_key="rc_wrong", api_host=given.grpc_host) as wrong:
        chat = wrong.chat.create(model="m", messages=[user("Hi")])
        refused(grpc.StatusCode.UNAUTHENTICATED, chat.sample)


@CHECKS("error: an unknown model")
def an_unknown_model(given: Given) -> None:
    chat = given.client.chat.create(model="nope", messages=[user("Hi")])
    assert "nope" in refused(grpc.StatusCode.NOT_FOUND, chat.sample).details()


@CHECKS("error: of the upstream")
def an_upstreams_own(given: Given) -> None:
    error = refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: a_talk(given, "Fail").sample())
    assert error.details() == "I will not do that."


@CHECKS("retry: a busy upstream")
def a_retry_gets_through(given: Given) -> None:
    assert a_talk(given, unique("Busy")).sample().content == HELLO


@CHECKS("chat.sample (server-side tools)")
def tools_of_the_server(given: Given) -> str:
    chat = a_talk(given, tools=[web_search()])
    assert "client-side tools" in refused(grpc.StatusCode.INVALID_ARGUMENT, chat.sample).details()
    return differs("INVALID_ARGUMENT: models served here have no tools of their own, only the caller's")


@CHECKS("chat.sample (search_parameters)")
def search(given: Given) -> str:
    chat = a_talk(given, search_parameters=SearchParameters(mode="on"))
    refused(grpc.StatusCode.INVALID_ARGUMENT, chat.sample)
    assert a_talk(given, search_parameters=SearchParameters(mode="off")).sample().content == HELLO
    return differs("INVALID_ARGUMENT, unless its mode is `off`: there is no search")
