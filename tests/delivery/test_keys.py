"""Secrets: made, shown, sealed."""

from base64 import b64decode

import pytest
from rich.pretty import pretty_repr

from raincheck.core.errors import SecretSealed
from raincheck.core.webhooks import SigningKey
from raincheck.delivery.keys import Sealer, hint, new_secret, shown

ONE, OTHER = "one key of at least 32 characters", "another of at least 32 characters"


def test_a_shared_secret_has_24_random_bytes_and_needs_no_padding() -> None:
    secret = new_secret()
    assert secret.startswith("whsec_")
    assert len(b64decode(secret.removeprefix("whsec_"), validate=True)) == 24
    assert "=" not in secret
    assert new_secret() != secret


def test_of_a_key_pair_the_public_half_is_shown() -> None:
    secret = new_secret("v1a")
    pair = b64decode(secret.removeprefix("whsk_"), validate=True)
    assert len(pair) == 64
    assert shown(secret).startswith("whpk_")
    assert b64decode(shown(secret).removeprefix("whpk_"), validate=True) == pair[32:]


def test_a_shared_secret_is_shown_as_it_is() -> None:
    secret = new_secret()
    assert shown(secret) == secret


@pytest.mark.parametrize(("signature", "prefix"), [("v1", "whsec_…"), ("v1a", "whpk_…")])
def test_a_hint_has_the_last_four_characters_of_what_was_shown(signature: str, prefix: str) -> None:
    secret = new_secret("v1a" if signature == "v1a" else "v1")
    assert hint(secret) == prefix + shown(secret)[-4:]


def test_a_sealed_secret_cannot_be_read_and_is_sealed_differently_each_time() -> None:
    sealer, secret = Sealer([ONE]), new_secret()
    sealed = sealer.seal(secret)
    assert secret.removeprefix("whsec_") not in sealed
    assert sealed != sealer.seal(secret)
    assert sealer.unseal(sealed) == secret


def test_without_a_key_secrets_stay_as_they_are() -> None:
    secret = new_secret()
    assert Sealer().seal(secret) == secret
    assert Sealer().unseal(secret) == secret


def test_what_was_never_sealed_stays_readable_once_there_is_a_key() -> None:
    secret = new_secret()
    assert Sealer([ONE]).unseal(secret) == secret


def test_the_first_key_seals_and_all_of_them_open() -> None:
    secret = new_secret()
    both = Sealer([OTHER, ONE])
    assert both.unseal(Sealer([ONE]).seal(secret)) == secret
    assert Sealer([OTHER]).unseal(both.seal(secret)) == secret


@pytest.mark.parametrize("sealer", [Sealer(), Sealer([OTHER])], ids=["no key", "another key"])
def test_without_its_key_a_sealed_secret_stays_shut(sealer: Sealer) -> None:
    sealed = Sealer([ONE]).seal(new_secret())
    with pytest.raises(SecretSealed) as caught:
        sealer.unseal(sealed)
    assert sealed not in str(caught.value)


def test_a_seal_that_was_tampered_with_stays_shut() -> None:
    with pytest.raises(SecretSealed):
        Sealer([ONE]).unseal("sealed:gAAAAA")


def test_each_secret_before_signs_until_its_time_is_over() -> None:
    """However often it was rotated meanwhile: each was promised its time."""
    sealer = Sealer([ONE])
    key = SigningKey(sealer.seal("whsec_new"), 0, ((sealer.seal("whsec_old"), 200), (sealer.seal("whsec_older"), 100)))
    assert sealer.live(key, 99) == ("whsec_new", "whsec_old", "whsec_older")
    assert sealer.live(key, 100) == ("whsec_new", "whsec_old")
    assert sealer.live(key, 200) == ("whsec_new",)
    assert sealer.live(SigningKey(sealer.seal("whsec_new"), 0), 0) == ("whsec_new",)


def test_what_was_sealed_with_a_lost_key_hinders_no_secret_that_came_after_it() -> None:
    """Else rotating, which is what heals the loss, would do so only once the overlap is over."""
    sealer, older = Sealer([ONE]), Sealer([ONE]).seal("whsec_older")
    previous = ((Sealer([OTHER]).seal("whsec_lost"), 100), (older, 100))
    assert sealer.live(SigningKey(sealer.seal("whsec_new"), 0, previous), 0) == ("whsec_new", "whsec_older")
    with pytest.raises(SecretSealed):
        sealer.live(SigningKey(Sealer([OTHER]).seal("whsec_lost"), 0, ((older, 100),)), 0)


def test_no_record_prints_a_secret() -> None:
    key = SigningKey("whsec_new", 0, (("whsec_old", 100),))
    assert "whsec" not in repr(key) + str([key]) + pretty_repr({"key": key})
