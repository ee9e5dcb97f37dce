"""/schema: the document and the page."""

from html.parser import HTMLParser
from typing import Any

from tests.server import Running


async def test_every_route_has_a_summary_and_an_example_of_its_answer(server: Running) -> None:
    document = (await server.get("/schema/openapi.json")).json

    assert document["openapi"].startswith("3.1")
    operations = {
        f"{method} {path}": operation for path, item in document["paths"].items() for method, operation in item.items()
    }
    assert {"post /v1/chat/completions", "get /v1/requests/{request_id}", "get /xai/v1/models"} <= set(operations)
    for name, operation in operations.items():
        assert operation["summary"], name
        first = next(iter(operation["responses"].values()))
        assert any("examples" in content for content in first["content"].values()), name
    assert "requestBody" in operations["post /v1/chat/completions"]


async def test_the_request_object_is_described_and_every_reference_leads_somewhere(server: Running) -> None:
    document = (await server.get("/schema/openapi.json")).json

    schemas = document["components"]["schemas"]
    shown = (await server.get(f"/v1/requests/{await server.defer()}")).json
    assert set(shown) == set(schemas["RequestObject"]["properties"])
    for reference in _references(document):
        assert reference.removeprefix("#/components/schemas/") in schemas


async def test_the_message_that_webhooks_are_sent_is_described(server: Running) -> None:
    document = (await server.get("/schema/openapi.json")).json

    sent = document["webhooks"]["event"]["post"]
    [example] = sent["requestBody"]["content"]["application/json"]["examples"].values()
    assert example["value"].keys() == {"object", "id", "type", "created_at", "timestamp", "data"}
    assert {each["name"] for each in sent["parameters"]} >= {"webhook-id", "webhook-timestamp", "webhook-signature"}


async def test_the_page_needs_nothing_from_elsewhere(server: Running) -> None:
    page = await server.get("/schema")

    loads: list[str] = []

    class Loads(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            loads.extend(str(value) for name, value in attrs if name == "src" or (tag == "link" and name == "href"))

    Loads().feed(page.body.decode())
    assert loads == []
    assert b"/v1/chat/completions" in page.body
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert page.headers["x-frame-options"] == "DENY"


def _references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [found for item in node for found in _references(item)]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return own + [found for item in node.values() for found in _references(item)]  # pyright: ignore[reportUnknownVariableType]
    return []
