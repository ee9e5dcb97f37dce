"""Chats that are kept, read again and gone on with."""

import grpc

from tests.clients.checks import Given
from tests.clients.xai_client import CHECKS
from tests.clients.xai_client.asking import HELLO, SOON, a_talk, refused


@CHECKS("chat.get_stored_completion")
def is_read_again(given: Given) -> None:
    response = a_talk(given, store_messages=True).sample()
    [stored] = given.client.chat.get_stored_completion(response.id)
    assert (stored.id, stored.content, stored.usage.total_tokens) == (response.id, HELLO, 9)


@CHECKS("chat.get_stored_completion of a stream")
def a_stream_is_read_again(given: Given) -> None:
    response = [response for response, _ in a_talk(given, store_messages=True).stream()][-1]
    [stored] = given.client.chat.get_stored_completion(response.id)
    assert (response.content, stored.content) == (HELLO, HELLO)


@CHECKS("chat.get_stored_completion of a deferred one")
def a_deferred_one_is_read_again(given: Given) -> None:
    response = a_talk(given, store_messages=True).defer(interval=SOON)
    [stored] = given.client.chat.get_stored_completion(response.id)
    assert stored.content == HELLO


@CHECKS("chat.create (previous_response_id)")
def a_talk_goes_on(given: Given) -> None:
    first = a_talk(given, store_messages=True).sample()
    second = a_talk(given, "More", previous_response_id=first.id).sample()
    assert second.content == "Heard user, assistant, user."


@CHECKS("chat.delete_stored_completion")
def is_deleted(given: Given) -> None:
    response = a_talk(given, store_messages=True).sample()
    assert given.client.chat.delete_stored_completion(response.id) == response.id
    refused(grpc.StatusCode.NOT_FOUND, lambda: given.client.chat.get_stored_completion(response.id))
