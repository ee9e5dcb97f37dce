"""What the server says of itself: its models and the caller's key."""

import grpc

from tests.clients.checks import Given
from tests.clients.xai_client import CHECKS
from tests.clients.xai_client.asking import refused


@CHECKS("models.list_language_models")
def language_models_are_listed(given: Given) -> None:
    assert "m" in [model.name for model in given.client.models.list_language_models()]


@CHECKS("models.get_language_model")
def one_is_described(given: Given) -> None:
    assert given.client.models.get_language_model("m").name == "m"
    refused(grpc.StatusCode.NOT_FOUND, lambda: given.client.models.get_language_model("nope"))


@CHECKS("models.list_embedding_models, models.list_image_generation_models")
def other_kinds_are_listed(given: Given) -> None:
    assert given.client.models.list_embedding_models() is not None
    assert given.client.models.list_image_generation_models() is not None


@CHECKS("auth.get_api_key_info")
def the_key_is_described(given: Given) -> None:
    info = given.client.auth.get_api_key_info()
    assert (info.name, info.disabled, info.api_key_blocked) == ("clients", False, False)
    assert info.redacted_api_key
    assert given.key not in str(info)
