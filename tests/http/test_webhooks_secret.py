"""/v1/webhook_secret: what deliveries to webhook_urls are signed with."""

import asyncio
from pathlib import Path

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from raincheck.core.webhooks import OVERLAP
from tests.http.test_webhooks_deliveries import told
from tests.http.webhooks import ENDPOINTS, SECRET, bearer, register, sending
from tests.receivers import Receiver
from tests.server import Running, running_server

KEY, OTHER_KEY = "a key to seal with, thirty-two and more", "another such key, thirty-two and more"


async def test_it_is_made_when_first_asked_for_and_then_stays(server: Running) -> None:
    first, *others = await asyncio.gather(*(server.get(SECRET) for _ in range(8)))

    secret = first.json
    assert all(reply.json == secret for reply in others)
    assert secret.keys() == {
        "object",
        "signing_secret",
        "signing_secret_hint",
        "created_at",
        "previous_active_until",
    }
    assert (secret["object"], secret["previous_active_until"]) == ("webhook_secret", None)
    assert secret["signing_secret"].startswith("whsec_")
    assert secret["signing_secret_hint"] == f"whsec_…{secret['signing_secret'][-4:]}"


async def test_it_verifies_what_was_sent_before_it_was_asked_for(tmp_path: Path) -> None:
    async with sending(tmp_path) as server, Receiver() as receiver:
        await told(server, receiver)
        secret = (await server.get(SECRET)).json["signing_secret"]

    [sent] = receiver.received
    Webhook(secret).verify(sent.body, sent.headers)


async def test_for_a_day_after_a_rotation_both_sign_if_that_is_asked_for(tmp_path: Path) -> None:
    async with sending(tmp_path) as server, Receiver() as receiver:
        old = (await server.get(SECRET)).json["signing_secret"]
        rotated = (await server.post(f"{SECRET}/rotate", {"keep_old_secret_active_for_24_hours": True})).json
        await told(server, receiver)
        at_once = (await server.call("POST", f"{SECRET}/rotate")).json
        await told(server, receiver)
        shown = (await server.get(SECRET)).json

    both, alone = receiver.received
    for secret in (old, rotated["signing_secret"]):
        Webhook(secret).verify(both.body, both.headers)
    assert rotated["previous_active_until"] == pytest.approx(rotated["created_at"] + OVERLAP / 1e6, abs=0.01)
    Webhook(at_once["signing_secret"]).verify(alone.body, alone.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(rotated["signing_secret"]).verify(alone.body, alone.headers)
    assert shown == at_once
    assert at_once["previous_active_until"] is None


async def test_g8_each_tenant_has_its_own(server: Running) -> None:
    keys = [bearer(await server.key(tenant)) for tenant in ("t", "else")]

    one, two = [(await server.get(SECRET, **key)).json for key in keys]
    await server.post(f"{SECRET}/rotate", {}, **keys[1])

    assert one["signing_secret"] != two["signing_secret"]
    assert (await server.get(SECRET, **keys[0])).json == one


@pytest.mark.slow("three servers, one after the other")
async def test_with_a_key_secrets_lie_sealed_in_the_store_and_without_it_nobody_reads_them(tmp_path: Path) -> None:
    async with running_server(tmp_path, sealing_keys=(KEY,)) as server:
        secret = (await server.get(SECRET)).json
        made = await register(server)
        stored = await server.edge.store.endpoints.signing_key("default", made["id"])
    async with running_server(tmp_path, sealing_keys=(OTHER_KEY, KEY)) as server:
        again = (await server.get(SECRET)).json
    async with running_server(tmp_path, sealing_keys=(OTHER_KEY,)) as server:
        closed = await server.get(SECRET)
        shown = (await server.get(f"{ENDPOINTS}/{made['id']}")).json
        tested = await server.post(f"{ENDPOINTS}/{made['id']}/test", {"event_type": "batch.completed"})
        replaced = (await server.post(f"{SECRET}/rotate", {})).json
        opened = (await server.get(SECRET)).json

    assert stored is not None
    assert stored.secret.startswith("sealed:")
    assert made["signing_secret"] not in stored.secret
    assert again == secret
    assert (closed.status, closed.error["code"]) == (503, "secret_sealed")
    assert shown["signing_secret_hint"] is None
    assert (tested.status, tested.error["code"]) == (502, "webhook_unreachable")
    assert "RAINCHECK_SEALING_KEY" in tested.error["message"]
    assert opened["signing_secret"] == replaced["signing_secret"] != secret["signing_secret"]
