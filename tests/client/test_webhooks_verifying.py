"""Each way in which a webhook can be wrong is told apart from the others; none of them gets through."""

import hmac
import io
import subprocess
import sys
from collections.abc import Callable
from inspect import getdoc
from math import inf
from typing import Any
from wsgiref.headers import Headers as WsgiHeaders

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st
from openai import OpenAI

from raincheck import webhooks
from raincheck.webhooks import verify
from raincheck.webhooks.verifying import MOST_SIGNATURES
from tests.client.webhook_posts import OTHER, SECRET, an_event, public, signed, signed_with, wall

BODY = an_event()
THE_SPECIFICATIONS_OWN = (
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    b'{"test": 2432232314}',
    {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    },
)


def test_a_delivery_that_the_standard_library_signed_is_verified() -> None:
    event = verify(BODY, signed(BODY, raincheck_attempt="3"), SECRET)

    assert (event.id, event.type, event.created_at, event.data.id) == (
        "evt_1",
        "chat.completion.completed",
        1790000000.0,
        "req_1",
    )
    assert event.attempt == 3
    assert verify(BODY.decode(), signed(BODY), SECRET).raw == event.raw


def test_the_example_of_the_specification_is_authentic_though_no_event() -> None:
    secret, body, headers = THE_SPECIFICATIONS_OWN

    with pytest.raises(webhooks.BadPayload, match="authentic"):
        verify(body, headers, secret, tolerance=inf)


def test_what_openai_verifies_is_verified_here_too() -> None:
    headers = signed(BODY, OTHER, SECRET)
    theirs = OpenAI(api_key="k", webhook_secret=SECRET).webhooks.unwrap(BODY, headers)

    assert theirs.id == verify(BODY, headers, SECRET).id


SHAPES: dict[str, Callable[[dict[str, str]], Any]] = {
    "title case": lambda plain: {name.title(): value for name, value in plain.items()},
    "bytes": lambda plain: {name.upper().encode(): value.encode() for name, value in plain.items()},
    "pairs of bytes": lambda plain: [(name.encode(), value.encode()) for name, value in plain.items()],
    "wsgiref": lambda plain: WsgiHeaders(list(plain.items())),
    "WSGI environment": lambda plain: (
        {"wsgi.input": io.BytesIO()}
        | {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in plain.items()}
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_headers_come_as_any_framework_has_them(shape: str) -> None:
    assert verify(BODY, SHAPES[shape](signed(BODY)), SECRET).id == "evt_1"


def test_a_clock_that_is_fast_here_is_told() -> None:
    with pytest.raises(webhooks.TooOld, match=r"date -u") as caught:
        verify(BODY, signed(BODY, late=400), SECRET)

    assert caught.value.seconds == pytest.approx(400, abs=5)
    assert caught.value.tolerance == 300
    assert verify(BODY, signed(BODY, late=400), SECRET, tolerance=600).id == "evt_1"


def test_a_clock_that_is_slow_here_is_told() -> None:
    with pytest.raises(webhooks.TooNew, match=r"in the future") as caught:
        verify(BODY, signed(BODY, late=-400), SECRET)

    assert caught.value.seconds == pytest.approx(400, abs=5)
    assert verify(BODY, signed(BODY, late=-290), SECRET).id == "evt_1"


@pytest.mark.parametrize("stamp", ["soon", "1.5", "-5", "１７９", "1_790", "9" * 13])
def test_a_timestamp_that_is_no_number_is_told(stamp: str) -> None:
    with pytest.raises(webhooks.BadTimestamp):
        verify(BODY, {**signed(BODY), "webhook-timestamp": stamp}, SECRET)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("instead", [None, " "])
def test_a_missing_header_is_named(name: str, instead: str | None) -> None:
    headers = signed(BODY)
    del headers[name]

    with pytest.raises(webhooks.MissingHeader, match=name) as caught:
        verify(BODY, headers if instead is None else {**headers, name: instead}, SECRET)

    assert caught.value.name == name


def test_a_changed_body_is_told_from_a_wrong_secret_when_the_sender_names_its_keys() -> None:
    keys = f"{webhooks.key_id(SECRET)},{webhooks.key_id(OTHER)}"
    headers = signed(BODY, SECRET, OTHER, raincheck_key=keys)
    third = "whsec_" + "C" * 32

    with pytest.raises(webhooks.TamperedBody, match="secret is right"):
        verify(BODY + b" ", headers, SECRET)
    with pytest.raises(webhooks.TamperedBody):
        verify(BODY, {**headers, "webhook-id": "evt_2"}, [third, OTHER])
    with pytest.raises(webhooks.WrongSecret, match="not given"):
        verify(BODY, headers, third)


def test_of_another_sender_it_is_only_known_that_the_signature_is_wrong() -> None:
    for body, secret in ((BODY + b" ", SECRET), (BODY, OTHER)):
        with pytest.raises(webhooks.WrongSignature) as caught:
            verify(body, signed(BODY), secret)
        assert type(caught.value) is webhooks.WrongSignature


def test_the_name_of_a_key_lets_nothing_through() -> None:
    forged = signed(BODY, OTHER, raincheck_key=webhooks.key_id(SECRET))

    with pytest.raises(webhooks.TamperedBody):
        verify(BODY, forged, SECRET)


def test_while_secrets_change_over_either_side_may_be_ahead() -> None:
    assert verify(BODY, signed(BODY, OTHER, SECRET), SECRET).id == "evt_1"
    assert verify(BODY, signed(BODY, SECRET), [OTHER, SECRET]).id == "evt_1"


@pytest.mark.parametrize("before", ["v1a,AAAA", "v9,whatever", "nonsense", "v1,%%%", ",", "v1,"])
def test_signatures_that_are_not_understood_are_passed_over(before: str) -> None:
    headers = signed(BODY)
    mixed = {**headers, "webhook-signature": f"{before} {headers['webhook-signature']}"}

    assert verify(BODY, mixed, SECRET).id == "evt_1"
    with pytest.raises(webhooks.WrongSignature):
        verify(BODY, {**headers, "webhook-signature": before}, SECRET)


def test_the_body_is_hashed_once_however_many_signatures_are_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """G12: a forged call costs no more than a genuine one."""
    hashed = list[bytes]()

    def digest(key: bytes, signed: bytes, name: str) -> bytes:
        hashed.append(key)
        return hmac_digest(key, signed, name)

    hmac_digest = hmac.digest
    headers = {**signed(BODY), "webhook-signature": " ".join(["v1,AA=="] * 10 + ["v1a,AA=="] * 10)}
    monkeypatch.setattr(hmac, "digest", digest)
    with pytest.raises(webhooks.WrongSignature):
        verify(BODY, headers, [SECRET, OTHER])

    assert len(hashed) == 2, "once for each secret"


def test_only_so_many_signatures_are_looked_at() -> None:
    headers = signed(BODY)

    def offered_after(others: int) -> dict[str, str]:
        return {**headers, "webhook-signature": "v1,AA== " * others + headers["webhook-signature"]}

    assert verify(BODY, offered_after(MOST_SIGNATURES - 1), SECRET).id == "evt_1"
    with pytest.raises(webhooks.WrongSignature):
        verify(BODY, offered_after(MOST_SIGNATURES), SECRET)


def test_what_cannot_be_a_signature_of_a_key_pair_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    key = public(Ed25519PrivateKey.generate())
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(webhooks.WrongSignature):
        verify(BODY, {**signed(BODY), "webhook-signature": "v1a,AA=="}, key)
    with pytest.raises(webhooks.CryptographyMissing):
        verify(BODY, {**signed(BODY), "webhook-signature": f"v1a,{'A' * 86}=="}, key)


def test_what_a_stranger_calls_his_scheme_is_not_repeated() -> None:
    with pytest.raises(webhooks.WrongSignature, match="It is signed by nothing known here") as caught:
        verify(BODY, {**signed(BODY), "webhook-signature": "shout\udcff,AA=="}, SECRET)
    assert "shout" not in str(caught.value)


def test_an_id_with_a_byte_that_is_no_text_is_another_id() -> None:
    headers = signed(BODY, id="evt_?")

    assert verify(BODY, headers, SECRET).id == "evt_?"
    with pytest.raises(webhooks.WrongSignature):
        verify(BODY, {**headers, "webhook-id": "evt_\udcff"}, SECRET)


def test_a_key_pair_verifies_what_it_signed() -> None:
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()

    assert verify(BODY, signed_with(key, BODY), [SECRET, public(key)]).id == "evt_1"
    with pytest.raises(webhooks.WrongSignature):
        verify(BODY, signed_with(key, BODY), public(other))
    with pytest.raises(webhooks.WrongSignature):
        verify(BODY + b" ", signed_with(key, BODY), public(key))
    with pytest.raises(webhooks.WrongSignature, match="It is signed by v1a: "):
        verify(BODY, signed_with(key, BODY), SECRET)


@pytest.mark.slow("starts an interpreter")
def test_without_cryptography_a_key_pair_asks_for_it_and_nothing_needs_openai() -> None:
    key = Ed25519PrivateKey.generate()
    code = f"""
import sys
sys.modules["cryptography"] = sys.modules["openai"] = None
from raincheck import webhooks
print(webhooks.verify({BODY!r}, {signed(BODY)!r}, {SECRET!r}).id)
try:
    webhooks.verify({BODY!r}, {signed_with(key, BODY)!r}, {public(key)!r})
except webhooks.CryptographyMissing as error:
    print(isinstance(error, ImportError), error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stdout.splitlines()[0] == "evt_1", done.stderr
    assert done.stdout.splitlines()[1].startswith("True Verifying with a whpk_ key")


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        ("", "No secret"),
        (None, "environment variable"),
        ("sk-123", "begins with whsec_"),
        ("whsec_", "base64"),
        ("whsec_AAA", "cut off"),
        ("whsec_AA-_", "base64"),
        ("whpk_AAAA", "32 bytes"),
        ("whsk_AAAA", "whpk_"),
        ([], "No secret"),
        ([SECRET, "nonsense"], "begins with whsec_"),
    ],
)
def test_a_malformed_secret_is_told_without_being_repeated(secret: Any, says: str) -> None:
    with pytest.raises(webhooks.BadSecret, match=says) as caught:
        verify(BODY, signed(BODY), secret)

    assert "sk-123" not in str(caught.value)
    assert "nonsense" not in str(caught.value)


def test_a_secret_read_from_a_file_may_end_its_line() -> None:
    assert verify(BODY, signed(BODY), f"{SECRET}\n").id == "evt_1"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"[]",
        b'{"type": 3, "data": {}}',
        b'{"data": {"id": "req_1"}}',
        b"\xff",
        b'{"type": "a.b", "data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"type": "a.b", "created_at": 1' + b"0" * 5000 + b"}",
    ],
    ids=range(8),
)
def test_what_is_authentic_and_no_event_is_told(body: bytes) -> None:
    key = Ed25519PrivateKey.generate()

    with pytest.raises(webhooks.BadPayload):
        verify(body, signed_with(key, body), public(key))


def test_parsed_json_is_no_payload() -> None:
    parsed: Any = {"type": "a.b"}

    with pytest.raises(TypeError, match="as bytes, not dict"):
        verify(parsed, signed(BODY), SECRET)


def test_what_was_handled_before_is_a_replay_with_its_event() -> None:
    seen = webhooks.Seen()
    event = verify(BODY, signed(BODY), SECRET, seen=seen)

    assert verify(BODY, signed(BODY), SECRET, seen=seen).id == event.id, "until it is handled, a retry is let in"
    seen.add(event.id)
    with pytest.raises(webhooks.Replayed) as caught:
        verify(BODY, signed(BODY), SECRET, seen=seen)
    assert caught.value.event.data.id == "req_1"
    assert verify(BODY, signed(BODY, id="evt_2"), SECRET, seen=seen).id == "evt_2"


@pytest.mark.parametrize("seen", [{"evt_1"}, ["evt_1"], "evt_1".__eq__], ids=["set", "list", "function"])
def test_anything_that_knows_ids_guards_against_replays(seen: Any) -> None:
    with pytest.raises(webhooks.Replayed):
        verify(BODY, signed(BODY), SECRET, seen=seen)


def test_a_forgery_is_never_called_a_replay() -> None:
    with pytest.raises(webhooks.WrongSignature):
        verify(BODY, signed(BODY, OTHER), SECRET, seen={"evt_1"})


def test_only_so_many_ids_are_remembered() -> None:
    seen = webhooks.Seen(keep=2)
    for event_id in ("a", "b", "a", "c"):
        seen.add(event_id)

    assert ("a" in seen, "b" in seen, "c" in seen, len(seen)) == (True, False, True, 2)
    with pytest.raises(ValueError, match="at least 1"):
        webhooks.Seen(keep=0)


def test_data_is_typed_and_keeps_what_it_does_not_know() -> None:
    body = an_event(
        "video.failed",
        status="failed",
        error={"message": "no such model", "code": "model_not_found", "extra": 1},
        usage={"total_tokens": 3},
        metadata={"job": "a"},
        something_new=True,
    )
    event = verify(body, signed(body), SECRET)

    assert event.data.error is not None
    assert (event.data.error.message, event.data.error.code) == ("no such model", "model_not_found")
    assert (event.status, event.moment, event.is_final, event.data.result) == ("failed", "failed", True, None)
    assert event.data.raw["something_new"] is True
    assert event.time.year == 2026


def test_a_member_of_another_type_is_left_to_raw() -> None:
    data: dict[str, Any] = {"error": "no such model", "usage": [1], "status": "failed", "raw": 5}
    body = an_event("video.failed", **data)
    event = verify(body, signed(body, raincheck_attempt="many"), SECRET)

    assert (event.data.error, event.data.usage, event.status, event.attempt) == (None, None, "failed", None)
    assert event.data.raw == {"id": "req_1", **data}


def test_the_data_and_the_time_of_an_event_may_be_missing() -> None:
    _has_the_time_it_was_sent('"yesterday"')


@pytest.mark.parametrize("created_at", ["1" + "0" * 400, "1e300", "-1", "253402300800", "null", "[]"])
def test_a_time_that_no_calendar_has_is_as_good_as_none(created_at: str) -> None:
    _has_the_time_it_was_sent(created_at)


def test_the_last_moment_of_the_calendar_is_one() -> None:
    body = b'{"type": "something.happened", "created_at": 253402300799}'

    assert verify(body, signed(body), SECRET).time.year == 9999


def _has_the_time_it_was_sent(created_at: str) -> None:
    body = f'{{"type": "something.happened", "created_at": {created_at}}}'.encode()
    event = verify(body, signed(body), SECRET)

    assert (event.data.id, event.is_final, event.status) == ("", False, "happened")
    assert event.created_at == event.time.timestamp() == pytest.approx(wall().timestamp(), abs=5)


def test_progress_is_no_end() -> None:
    body = an_event("video.progress", progress=0.5, progress_message="frame 12")
    event = verify(body, signed(body), SECRET)

    assert (event.is_final, event.status, event.data.progress) == (False, "progress", 0.5)


@given(place=st.integers(0, len(BODY) - 1), instead=st.integers(0, 255))
def test_no_change_of_a_single_byte_gets_through(place: int, instead: int) -> None:
    changed = BODY[:place] + bytes([instead]) + BODY[place + 1 :]
    if changed == BODY:
        assert verify(changed, signed(BODY), SECRET).id == "evt_1"
    else:
        with pytest.raises(webhooks.WrongSignature):
            verify(changed, signed(BODY), SECRET)


@given(
    headers=st.dictionaries(
        st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature", "raincheck-key", "raincheck-attempt"]),
        st.text(st.characters(), max_size=40),
    ),
    body=st.binary(max_size=60),
)
@example(headers={"webhook-id": "evt_\udcff"}, body=b"")
@example(headers={"webhook-signature": "v1,\udcff"}, body=b"")
@example(headers={"webhook-timestamp": "\udcff"}, body=b"")
@example(headers={"raincheck-key": "\udcff"}, body=b"")
def test_whatever_comes_is_refused_with_one_of_its_own_errors(headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(webhooks.WebhookError):
        verify(body, {**signed(BODY), **headers}, SECRET if headers else OTHER)


def test_every_error_is_in_the_tree_at_the_top_of_its_file() -> None:
    from raincheck.webhooks import errors

    for name in webhooks.__all__:
        kind = getattr(webhooks, name)
        if isinstance(kind, type) and issubclass(kind, webhooks.WebhookError):
            assert name in (errors.__doc__ or "")
            assert getdoc(kind)
