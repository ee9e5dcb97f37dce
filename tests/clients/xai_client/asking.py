"""What several of these checks do: start a talk, read a refusal."""

import datetime
from collections.abc import Callable
from typing import Any

import grpc
from xai_sdk.chat import user

from tests.clients.checks import Given, raises

HELLO = "Hello from the script."
SOON = datetime.timedelta(milliseconds=100)
"""How often to poll: the SDK's own second would make these checks slow."""


def a_talk(given: Given, words: str = "Hi", **options: Any) -> Any:
    chat = given.client.chat.create(model="m", **options)
    chat.append(user(words))
    return chat


def refused(code: grpc.StatusCode, call: Callable[[], object]) -> Any:
    """The error of a call that ends with this code."""
    error: Any = raises(grpc.RpcError, call)
    assert error.code() is code, (error.code(), error.details())
    return error


def unserved(call: Callable[[], object]) -> None:
    """The call is UNIMPLEMENTED and says what there is."""
    error = refused(grpc.StatusCode.UNIMPLEMENTED, call)
    assert "Raincheck does not serve" in error.details(), error.details()
