"""/schema: the document and the page."""

from html.parser import HTMLParser
from typing import Any

from tests.server import Running


async def test_every_route_has_a_summary_and_an_example_of_its_answer(server: Running) -> None:
    document = (await server.get("/schema/openapi.json")).json

    assert document["openapi"].startswith("3.1")
    operations = _operations(document)
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


async def test_every_link_leads_to_an_operation_with_a_parameter_of_that_name(server: Running) -> None:
    document = (await server.get("/schema/openapi.json")).json

    operations = _operations(document)
    named = {operation["operationId"]: operation for operation in operations.values()}
    assert len(named) == len(operations)
    followed = 0
    for name, operation in operations.items():
        for status, answer in operation["responses"].items():
            for link in answer.get("links", {}).values():
                followed += 1
                target = named[link["operationId"]]
                there = {f"{each['in']}.{each['name']}" for each in target.get("parameters", [])}
                assert set(link.get("parameters", {})) <= there, (name, status, link)
                assert link.get("parameters") or "requestBody" in target, (name, status, link)
    assert followed > 50


async def test_every_operation_on_one_thing_can_be_reached_by_a_link(server: Running) -> None:
    document = (await server.get("/schema/openapi.json")).json

    operations = _operations(document)
    reached = {
        link["operationId"]
        for operation in operations.values()
        for answer in operation["responses"].values()
        for link in answer.get("links", {}).values()
    }
    missing = {name for name, each in operations.items() if "_id}" in name and each["operationId"] not in reached}
    assert missing == {
        # A colon before the verb, as in `…/{batch_id}:cancel`, is no path that OpenAPI has.
        "post /v1/batches/{batch_id}",
        "post /xai/v1/batches/{batch_id}",
        # Requests are added to a batch of xAI's dialect, which is made below /xai.
        "post /v1/batches/{batch_id}/requests",
        # Its name is in no answer at a place that a link could tell.
        "get /v1/requests/{request_id}/attachments/{name}",
    }


async def test_every_operation_says_how_errors_look(server: Running) -> None:
    document = (await server.get("/schema/openapi.json")).json

    for name, operation in _operations(document).items():
        shape = "XaiErrorAnswer" if " /xai/" in name else "ErrorAnswer"
        told = operation["responses"]["default"]["content"]["application/json"]["schema"]
        assert told == {"$ref": f"#/components/schemas/{shape}"}, name
        members = {"code", "error"} if " /xai/" in name else {"error"}
        for status, answer in operation["responses"].items():
            for content in answer.get("content", {}).values():
                if content.get("schema") == told and status != "default":
                    assert content["examples"]["example"]["value"].keys() == members, (name, status)


async def test_a_server_that_is_not_ready_is_described_as_it_answers(server: Running) -> None:
    document = (await server.get("/schema/openapi.json")).json

    described = document["paths"]["/health/ready"]["get"]["responses"]["503"]["content"]["application/json"]
    assert "$ref" not in described["schema"]
    assert described["examples"]["example"]["value"]["status"] == "stopping"


async def test_examples_show_their_nulls(server: Running) -> None:
    document = (await server.get("/schema/openapi.json")).json

    answer = document["paths"]["/v1/files/{file_id}"]["get"]["responses"]["200"]
    assert answer["content"]["application/json"]["examples"]["example"]["value"]["expires_at"] is None


async def test_what_needs_no_key_says_so(server: Running) -> None:
    document = (await server.get("/schema/openapi.json")).json

    open_to_all = {name for name, each in _operations(document).items() if each.get("security") == [{}]}
    assert open_to_all == {"get /health/live", "get /health/ready", "get /media/{token}/{name}"}


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


def _operations(document: Any) -> dict[str, Any]:
    """All of them, by method and path."""
    return {
        f"{method} {path}": operation for path, item in document["paths"].items() for method, operation in item.items()
    }


def _references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [found for item in node for found in _references(item)]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return own + [found for item in node.values() for found in _references(item)]  # pyright: ignore[reportUnknownVariableType]
    return []
