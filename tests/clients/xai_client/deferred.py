"""Chats that are deferred, and polled by the SDK."""

import datetime

import grpc

from tests.clients.checks import Given, raises
from tests.clients.xai_client import CHECKS
from tests.clients.xai_client.asking import HELLO, SOON, a_talk, refused
from tests.clients.xai_client.chat import Person, weather


@CHECKS("chat.defer")
def is_deferred(given: Given) -> None:
    response = a_talk(given, "Later").defer(interval=SOON)
    assert (response.content, response.finish_reason, response.usage.total_tokens) == (HELLO, "REASON_STOP", 9)


@CHECKS("chat.defer (tools)")
def a_tool_is_called(given: Given) -> None:
    [call] = a_talk(given, "Weather?", tools=[weather()]).defer(interval=SOON).tool_calls
    assert (call.id, call.function.arguments) == ("call_1", '{"city": "Oslo"}')


@CHECKS("chat.defer (response_format)")
def an_answer_has_a_shape(given: Given) -> None:
    response = a_talk(given, "Who?", response_format=Person).defer(interval=SOON)
    assert Person.model_validate_json(response.content).name == "Ada"


@CHECKS("chat.defer_batch")
def several_answers_come(given: Given) -> None:
    responses = a_talk(given).defer_batch(3, interval=SOON)
    assert [response.content for response in responses] == [HELLO] * 3


@CHECKS("chat.defer of one that fails")
def a_failure_is_raised(given: Given) -> None:
    error = refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: a_talk(given, "Fail").defer(interval=SOON))
    assert error.details() == "I will not do that."


@CHECKS("chat.defer (timeout)")
def patience_ends(given: Given) -> None:
    chat = a_talk(given, "Slow")
    raises(TimeoutError, lambda: chat.defer(timeout=datetime.timedelta(seconds=0.5), interval=SOON))
    _, listed = given.http("GET", "/v1/requests?status=processing")
    for request in listed["data"]:
        given.http("POST", f"/v1/requests/{request['id']}/cancel", {})
