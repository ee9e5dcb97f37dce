"""Signatures, as the libraries that receivers use verify them."""

from base64 import b64decode
from typing import Any

import msgspec
import openai
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook, WebhookVerificationError

from raincheck.core.clock import SECOND, now
from raincheck.delivery.keys import new_secret, shown
from raincheck.delivery.message import event_json
from raincheck.delivery.sign import signed
from raincheck.webhooks import key_id

BODY = event_json("evt_1", "response.completed", now(), {"id": "resp_1", "status": "completed", "text": "grüß – 雨"})


def by_pair(secret: str, body: bytes, headers: dict[str, str], signature: str) -> None:
    """As one verifies v1a who knows no more than the specification and the public key."""
    key = Ed25519PublicKey.from_public_bytes(b64decode(shown(secret).removeprefix("whpk_"), validate=True))
    text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key.verify(b64decode(signature.removeprefix("v1a,"), validate=True), text)


def test_the_standard_webhooks_library_verifies_what_is_signed() -> None:
    secret = new_secret()
    assert Webhook(secret).verify(BODY, signed("evt_1", BODY, [secret], now=now())) == msgspec.json.decode(BODY)


def test_openais_client_unwraps_it() -> None:
    secret = new_secret()
    client = openai.OpenAI(api_key="none", webhook_secret=secret)
    event: Any = client.webhooks.unwrap(BODY.decode(), signed("evt_1", BODY, [secret], now=now()))
    assert (event.id, event.type, event.data.id) == ("evt_1", "response.completed", "resp_1")


def test_during_a_rotation_the_old_and_the_new_secret_verify() -> None:
    new, old = new_secret(), new_secret()
    headers = signed("evt_1", BODY, [new, old], now=now())
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (new, old):
        assert Webhook(secret).verify(BODY, headers)
        assert openai.OpenAI(api_key="none").webhooks.unwrap(BODY.decode(), headers, secret=secret)


def test_another_secret_a_changed_body_and_another_id_do_not_verify() -> None:
    secret = new_secret()
    headers = signed("evt_1", BODY, [secret], now=now())
    for known, body, heads in (
        (new_secret(), BODY, headers),
        (secret, BODY.replace(b"completed", b"c0mpleted"), headers),
        (secret, BODY, {**headers, "webhook-id": "evt_2"}),
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(known).verify(body, heads)


def test_each_attempt_has_the_time_at_which_it_was_signed() -> None:
    headers = signed("evt_1", BODY, [new_secret()], now=1_790_000_000 * SECOND + 999_999)
    assert headers["webhook-timestamp"] == "1790000000"


def test_a_key_pair_signs_by_v1a() -> None:
    secret = new_secret("v1a")
    headers = signed("evt_1", BODY, [secret], now=now())
    by_pair(secret, BODY, headers, headers["webhook-signature"])
    with pytest.raises(InvalidSignature):
        by_pair(secret, BODY + b" ", headers, headers["webhook-signature"])


def test_two_key_pairs_and_a_shared_secret_can_sign_side_by_side() -> None:
    """Each verifier skips the versions it does not know."""
    new, old, shared = new_secret("v1a"), new_secret("v1a"), new_secret()
    headers = signed("evt_1", BODY, [new, old, shared], now=now())
    signatures = headers["webhook-signature"].split(" ")
    by_pair(new, BODY, headers, signatures[0])
    by_pair(old, BODY, headers, signatures[1])
    assert Webhook(shared).verify(BODY, headers)
    assert openai.OpenAI(api_key="none").webhooks.unwrap(BODY.decode(), headers, secret=shared)


def test_each_signature_names_its_secret_as_verifiers_call_it() -> None:
    secrets = [new_secret(), new_secret("v1a")]
    named = signed("evt_1", BODY, secrets, now=now())["raincheck-key"]
    assert named == ",".join(key_id(shown(each)) for each in secrets)
