"""Which models there are, and calls that go on to the upstream as they are."""

from tests.clients.checks import Given, raises
from tests.clients.openai_client import CHECKS


@CHECKS("models.list")
def are_listed(given: Given) -> None:
    assert [model.id for model in given.client.models.list()] == ["m", "preview"]


@CHECKS("models.retrieve")
def one_is_retrieved(given: Given) -> None:
    model = given.client.models.retrieve("m")
    assert (model.id, model.object, model.owned_by) == ("m", "model", "script")


@CHECKS("models.delete")
def none_is_deleted(given: Given) -> str:
    import openai

    refused = raises(openai.APIStatusError, lambda: given.client.models.delete("m"))
    assert refused.status_code == 405, refused
    return "405: models are the operator's to add and to remove"


@CHECKS("embeddings.create")
def a_text_is_embedded(given: Given) -> None:
    answer = given.client.embeddings.create(model="m", input="a text")
    assert answer.data[0].embedding == [0.5, -0.25]


@CHECKS("completions.create")
def a_text_is_completed(given: Given) -> None:
    completion = given.client.completions.create(model="m", prompt="Once")
    assert completion.choices[0].text == "Hello from the script."
