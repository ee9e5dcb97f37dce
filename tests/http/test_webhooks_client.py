"""/v1/webhook_endpoints as the unmodified openai client manages them, sync and async."""

import asyncio
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import openai
import pytest

from tests.http.webhooks import FAR, sending
from tests.receivers import Receiver, status


class State(msgspec.Struct, forbid_unknown_fields=True):
    status: str
    disabled_at: float | None
    disabled_reason: str | None
    failures: int
    failing_since: float | None
    next_try_at: float | None
    include_result: bool
    signature: str


class EndpointSeen(msgspec.Struct, forbid_unknown_fields=True):
    """Every member is required, and no other may be there."""

    id: str
    object: str
    created_at: int
    updated_at: int
    event_types: list[str]
    name: str
    url: str
    signing_secret_hint: str
    raincheck: State


class WithSecretSeen(EndpointSeen, forbid_unknown_fields=True):
    signing_secret: str


class TestSeen(msgspec.Struct, forbid_unknown_fields=True):
    __test__ = False
    object: str
    event_type: str
    status_code: int
    success: bool
    webhook_endpoint_id: str


T = TypeVar("T")


def strict(model: Any, kind: type[T]) -> T:
    return msgspec.convert(model.to_dict(), kind)


@pytest.mark.slow("a client of its own in a thread, and another to verify with")
async def test_all_that_the_sync_client_manages(tmp_path: Path) -> None:
    async with sending(tmp_path) as server, Receiver() as receiver:

        def manage() -> list[str]:
            with openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
                hooks = client.webhooks
                made = hooks.create(name="mine", url=receiver.at(), event_types=["batch.completed", "video.failed"])
                with_secret = strict(made, WithSecretSeen)
                assert with_secret.signing_secret.startswith("whsec_")
                assert with_secret.signing_secret_hint.endswith(with_secret.signing_secret[-4:])
                assert (with_secret.object, with_secret.name) == ("webhook_endpoint", "mine")
                assert (with_secret.url, with_secret.event_types) == (
                    receiver.at(),
                    ["batch.completed", "video.failed"],
                )
                assert (with_secret.raincheck.status, with_secret.raincheck.signature) == ("enabled", "v1")

                seen = strict(hooks.retrieve(made.id), EndpointSeen)
                assert seen.signing_secret_hint == with_secret.signing_secret_hint
                changed = strict(hooks.update(made.id, name="ours", event_types=["video.completed"]), EndpointSeen)
                assert (changed.name, changed.url, changed.event_types) == ("ours", receiver.at(), ["video.completed"])

                tested = strict(hooks.test(made.id, event_type="video.completed"), TestSeen)
                assert tested == TestSeen("webhook_endpoint.test", "video.completed", 204, True, made.id)

                kept = hooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
                assert strict(kept, WithSecretSeen).signing_secret != with_secret.signing_secret
                hooks.test(made.id, event_type="batch.failed")
                alone = strict(hooks.rotate_secret(made.id), WithSecretSeen)
                hooks.test(made.id, event_type="batch.expired")

                types = hooks.event_types.list()
                assert types.to_dict().keys() == {"object", "data"}
                assert {"batch.completed", "video.completed", "chat.completion.progress"} <= set(types.data)

                gone = hooks.delete(made.id)
                assert gone.to_dict() == {"id": made.id, "object": "webhook_endpoint.deleted", "deleted": True}
                with pytest.raises(openai.NotFoundError):
                    hooks.retrieve(made.id)
                return [with_secret.signing_secret, kept.signing_secret, alone.signing_secret]

        old, new, newest = await asyncio.to_thread(manage)
        first, second, third = await receiver.wait(3)

    with openai.OpenAI(api_key="none", base_url="http://127.0.0.1:1") as client:
        event = client.webhooks.unwrap(first.body, first.headers, secret=old)
        assert (event.type, cast("Any", event).data.test) == ("video.completed", True)
        # For a day both secrets sign.
        for secret in (old, new):
            assert client.webhooks.unwrap(second.body, second.headers, secret=secret).type == "batch.failed"
            # Unless nothing was said of it: then the old ones are over at once.
            with pytest.raises(openai.InvalidWebhookSignatureError):
                client.webhooks.unwrap(third.body, third.headers, secret=secret)
        assert client.webhooks.unwrap(third.body, third.headers, secret=newest).type == "batch.expired"


async def test_all_that_the_async_client_manages(tmp_path: Path) -> None:
    async with (
        sending(tmp_path) as server,
        Receiver() as receiver,
        openai.AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client,
    ):
        hooks = client.webhooks
        made = await hooks.create(name="mine", url=receiver.at(), event_types=["response.incomplete"])
        strict(made, WithSecretSeen)
        strict(await hooks.retrieve(made.id), EndpointSeen)
        strict(await hooks.update(made.id, url=receiver.at("/other")), EndpointSeen)
        strict(await hooks.test(made.id, event_type="response.incomplete"), TestSeen)
        again = await hooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=False)
        await hooks.test(made.id, event_type="response.completed")
        assert "response.completed" in (await hooks.event_types.list()).data
        assert (await hooks.delete(made.id)).deleted

        first, second = await receiver.wait(2, path="/other")
        one: Any = client.webhooks.unwrap(first.body, first.headers, secret=made.signing_secret)
        two: Any = client.webhooks.unwrap(second.body, second.headers, secret=again.signing_secret)
        assert (one.data.id[:5], two.data.id[:5]) == ("resp_", "resp_")
        with pytest.raises(openai.InvalidWebhookSignatureError):
            client.webhooks.unwrap(second.body, second.headers, secret=made.signing_secret)


async def test_the_client_pages_through_them_in_both_orders(tmp_path: Path) -> None:
    async with (
        sending(tmp_path) as server,
        openai.AsyncOpenAI(base_url=server.base_url, api_key="none") as client,
    ):
        made = [
            (await client.webhooks.create(name=str(number), url=FAR, event_types=["batch.completed"])).id
            for number in range(5)
        ]

        newest = [each.id async for each in client.webhooks.list(limit=2)]
        oldest = [each.id async for each in client.webhooks.list(limit=2, extra_query={"order": "asc"})]
        page = await client.webhooks.list(limit=2)

        assert (newest, oldest) == (made[::-1], made)
        assert page.to_dict().keys() == {"object", "data", "first_id", "last_id", "has_more"}
        assert page.has_more
        for each in page.data:
            strict(each, EndpointSeen)


async def test_a_receiver_without_an_answer_is_an_error_that_the_client_does_not_repeat(tmp_path: Path) -> None:
    async with (
        sending(tmp_path) as server,
        openai.AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=2) as client,
    ):
        async with Receiver() as receiver:
            made = await client.webhooks.create(name="n", url=receiver.at(), event_types=["batch.failed"])
            receiver.script("/hook", status(500, b"no"))
            tested = await client.webhooks.test(made.id, event_type="batch.failed")
            assert (tested.status_code, tested.success) == (500, True)

        with pytest.raises(openai.InternalServerError) as raised:
            await client.webhooks.test(made.id, event_type="batch.failed")

        log = (await server.get(f"/v1/webhook_deliveries?endpoint_id={made.id}")).json["data"]
    error = cast("dict[str, Any]", raised.value.body)
    assert (raised.value.status_code, error["code"]) == (502, "webhook_unreachable")
    assert receiver.at() in error["message"]
    assert [each["status"] for each in log] == ["failed", "failed"]
