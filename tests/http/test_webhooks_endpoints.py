"""/v1/webhook_endpoints beyond what OpenAI's clients ask: options, refusals, secrets, tenants."""

import asyncio
from base64 import b64decode
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from raincheck.core.clock import SECOND
from raincheck.core.webhooks import MOST_ENDPOINTS
from raincheck.http.webhooks import places
from raincheck.intake.admit import REPEAT_WINDOW
from tests.http.webhooks import DELIVERIES, ENDPOINTS, FAR, SECRET, TYPES, bearer, delete, register, sending
from tests.receivers import Receiver, held, never
from tests.server import Json, Reply, Running, running_server
from tests.store.builders import FakeClock

MANY = [f"a.b{number}.completed" for number in range(101)]


@pytest.mark.parametrize(
    ("change", "says", "param"),
    [
        ({"name": None}, "str", "name"),
        ({"name": ""}, "1 to 256", "name"),
        ({"name": "x" * 257}, "1 to 256", "name"),
        ({"name": "a\0"}, "printable", "name"),
        ({"name": "a\nb"}, "printable", "name"),
        ({"name": "\x1b[31mred"}, "printable", "name"),
        ({"url": "http://example.com/"}, "webhooks.allow", "url"),
        ({"url": "https://[::1]/"}, "webhooks.allow", "url"),
        ({"url": "https://2130706433/"}, "127.0.0.1", "url"),
        ({"url": "https://a@example.com/"}, "signature", "url"),
        ({"url": 5}, "str", "url"),
        ({"event_types": []}, "1 to 100", "event_types"),
        ({"event_types": MANY}, "1 to 100", "event_types"),
        ({"event_types": "batch.completed"}, "array", "event_types"),
        ({"event_types": ["batch.complete"]}, "batch.completed", "event_types"),
        ({"event_types": ["chat.completions.failed"]}, "mean chat.completion.failed?", "event_types"),
        ({"event_types": ["nothing at all"]}, "See the list of types: GET /v1/webhook_event_types.", "event_types"),
        ({"raincheck": {"enabled": True}}, "enabled", "raincheck"),
        ({"raincheck": {"signature": "v2"}}, "v2", "raincheck"),
    ],
)
async def test_a_wrong_member_is_named(server: Running, change: Json, says: str, param: str) -> None:
    made = await register(server)

    created = await server.post(ENDPOINTS, {"name": "n", "url": FAR, "event_types": TYPES} | change)
    answers = [created]
    if "raincheck" not in change and change != {"name": None}:
        answers.append(await server.post(f"{ENDPOINTS}/{made['id']}", change))

    for answer in answers:
        assert (answer.status, answer.error["param"]) == (400, param), answer.body
        assert says in answer.error["message"]
        assert answer.error["code"] == ("webhook_refused" if param == "url" and says != "str" else "invalid_request")
    assert (await server.get(f"{ENDPOINTS}/{made['id']}")).json["name"] == "mine"


async def test_what_is_missing_is_named_and_so_is_an_option_that_cannot_be_changed(server: Running) -> None:
    made = await register(server)

    nameless = await server.post(ENDPOINTS, {"url": FAR, "event_types": TYPES})
    changed = await server.post(f"{ENDPOINTS}/{made['id']}", {"raincheck": {"signature": "v1a"}})

    assert (nameless.status, changed.status) == (400, 400)
    assert "name" in nameless.error["message"]
    assert "signature" in changed.error["message"]


async def test_types_are_kept_once_and_may_be_all_or_of_paths_that_nobody_foresaw(server: Running) -> None:
    types = ["*", "audio.speech.completed", "*", "fine_tuning.job.succeeded"]

    made = await register(server, event_types=types)

    assert made["event_types"] == ["*", "audio.speech.completed", "fine_tuning.job.succeeded"]


async def test_an_update_changes_what_it_names_and_nothing_else(server: Running) -> None:
    made = await register(server, raincheck={"include_result": True})
    where = f"{ENDPOINTS}/{made['id']}"

    disabled = (await server.post(where, {"raincheck": {"enabled": False}})).json
    enabled = (await server.post(where, {"raincheck": {"enabled": True, "include_result": False}})).json
    unchanged = (await server.post(where, {})).json

    assert (disabled["raincheck"]["status"], disabled["raincheck"]["include_result"]) == ("disabled", True)
    assert disabled["raincheck"]["disabled_at"] is not None
    assert disabled["raincheck"]["disabled_reason"] is None
    assert (enabled["raincheck"]["status"], enabled["raincheck"]["include_result"]) == ("enabled", False)
    assert unchanged == enabled == (await server.get(where)).json
    assert "signing_secret" not in unchanged
    assert {name: enabled[name] for name in ("name", "url", "event_types")} == {
        name: made[name] for name in ("name", "url", "event_types")
    }


async def test_an_endpoint_that_fails_says_so(tmp_path: Path) -> None:
    async with sending(tmp_path) as server:
        made = await register(server, "http://127.0.0.1:1/")
        await server.ended(await server.defer())
        [delivery] = (await server.get(f"/v1/webhook_deliveries?endpoint_id={made['id']}")).json["data"]
        state: Json = {"status": "enabled"}
        async with asyncio.timeout(10):
            while state["status"] == "enabled":
                state = (await server.get(f"{ENDPOINTS}/{made['id']}")).json["raincheck"]

    assert (state["status"], state["failures"]) == ("failing", 1)
    assert state["failing_since"] >= delivery["created_at"]


async def test_ed25519_shows_the_public_key_and_signs_with_the_private_one(tmp_path: Path) -> None:
    async with sending(tmp_path) as server, Receiver() as receiver:
        made = await register(server, receiver.at(), raincheck={"signature": "v1a"})
        await server.post(f"{ENDPOINTS}/{made['id']}/test", {"event_type": "batch.completed"})
        [sent] = await receiver.wait()

    assert made["signing_secret"].startswith("whpk_")
    assert made["signing_secret_hint"] == f"whpk_…{made['signing_secret'][-4:]}"
    version, _, signature = sent.headers["webhook-signature"].partition(",")
    key = Ed25519PublicKey.from_public_bytes(b64decode(made["signing_secret"].removeprefix("whpk_")))
    key.verify(b64decode(signature), f"{sent.id}.{sent.headers['webhook-timestamp']}.".encode() + sent.body)
    assert version == "v1a"


async def test_a_test_says_what_was_sent_and_is_in_the_log(tmp_path: Path) -> None:
    async with sending(tmp_path) as server, Receiver() as receiver:
        made = await register(server, receiver.at())
        types = ("batch.completed", "response.failed", "video.completed", "video.edit.failed", "a.b.cancelled")
        for event_type in types:
            reply = await server.post(f"{ENDPOINTS}/{made['id']}/test", {"event_type": event_type})
            assert reply.json["status_code"] == 204
        disabled = await server.post(f"{ENDPOINTS}/{made['id']}/test", {"event_type": "webhook_endpoint.disabled"})
        sent = await receiver.wait(6)
        log = (await server.get("/v1/webhook_deliveries")).json["data"]
        one = (await server.get(f"/v1/webhook_deliveries/{log[-1]['id']}")).json

    assert disabled.status == 200
    assert [each.data["id"].partition("_")[0] for each in sent] == ["batch", "resp", "video", "req", "req", "we"]
    assert [each.data.get("status") for each in sent[:5]] == [
        "completed",
        "failed",
        "completed",
        "failed",
        "cancelled",
    ]
    assert all(each.data["test"] is True for each in sent)
    assert sent[-1].data == {"id": made["id"], "url": receiver.at(), "reason": "test", "test": True}
    assert [each["event_type"] for each in log] == ["webhook_endpoint.disabled", *types[::-1]]
    assert (one["event_id"], one["status"], one["status_code"]) == (sent[0].id, "delivered", 204)
    assert [(each["number"], each["error_code"]) for each in one["attempts"]] == [(1, None)]


@pytest.mark.parametrize("event_type", ["*", "batch.complete", ""])
async def test_a_test_needs_the_name_of_one_type(server: Running, event_type: str) -> None:
    made = await register(server)

    reply = await server.post(f"{ENDPOINTS}/{made['id']}/test", {"event_type": event_type})

    assert (reply.status, reply.error["param"]) == (400, "event_type")


async def test_a_test_gives_up_after_the_timeout(tmp_path: Path) -> None:
    async with sending(tmp_path, webhook_timeout=100_000) as server, Receiver() as receiver:
        receiver.always("/hook", never)
        made = await register(server, receiver.at())

        reply = await server.post(f"{ENDPOINTS}/{made['id']}/test", {"event_type": "batch.completed"})

    assert (reply.status, reply.error["code"]) == (502, "webhook_unreachable")
    assert "timed out after 0.1 s" in reply.error["message"]


async def test_few_tests_are_under_way_at_once_and_a_place_comes_back_with_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "PER_ENDPOINT", 1)
    monkeypatch.setattr(places, "PER_TENANT", 2)
    monkeypatch.setattr(places, "IN_ALL", 3)
    async with sending(tmp_path) as server, Receiver() as receiver:
        answers = asyncio.Event()
        receiver.always("/hook", held(answers))
        keys = [await server.key(tenant) for tenant in ("one", "two")]
        made = [(key, (await register(server, receiver.at(), key=key))["id"]) for key in keys for _ in range(3)]

        async def test(which: int) -> Reply:
            key, endpoint = made[which]
            return await server.post(f"{ENDPOINTS}/{endpoint}/test", {"event_type": "batch.completed"}, **bearer(key))

        under_way: list[asyncio.Task[Reply]] = []
        refused: list[Reply] = []
        for begun, full in ((0, 0), (1, 2), (3, 4)):  # Full for an endpoint, for its tenant, for everybody.
            under_way.append(asyncio.create_task(test(begun)))
            await receiver.wait(len(under_way))
            refused.append(await test(full))
        answers.set()
        done = [(await each).status for each in under_way]
        after = await test(2)

    assert [(reply.status, reply.error["code"]) for reply in refused] == [(429, "too_many_tests")] * 3
    assert all(int(reply.headers["retry-after"]) > 0 for reply in refused)
    assert (done, after.status) == ([200, 200, 200], 200)


async def test_there_are_not_more_than_so_many(server: Running) -> None:
    for _ in range(MOST_ENDPOINTS):
        await register(server)

    reply = await server.post(ENDPOINTS, {"name": "n", "url": FAR, "event_types": TYPES})

    assert (reply.status, reply.error["code"]) == (409, "too_many_endpoints")
    assert reply.headers["x-should-retry"] == "false"


async def test_g8_another_tenants_endpoints_are_unknown(server: Running) -> None:
    own, stranger = [await server.key(tenant) for tenant in ("t", "else")]
    made = await register(server, key=own)
    where, as_stranger = f"{ENDPOINTS}/{made['id']}", bearer(stranger)

    replies = [
        await server.get(where, **as_stranger),
        await server.post(where, {"name": "x"}, **as_stranger),
        await server.post(f"{where}/rotate_secret", {}, **as_stranger),
        await server.post(f"{where}/test", {"event_type": "batch.completed"}, **as_stranger),
        await delete(server, where, **as_stranger),
        await server.get(f"{ENDPOINTS}?after={made['id']}", **as_stranger),
    ]
    unknown = await server.get(f"{ENDPOINTS}/we_unknown", **as_stranger)

    assert {reply.status for reply in replies} == {404}
    assert replies[0].error["code"] == unknown.error["code"] == "not_found"
    assert (await server.get(ENDPOINTS, **as_stranger)).json["data"] == []
    assert [each["id"] for each in (await server.get(ENDPOINTS, **bearer(own))).json["data"]] == [made["id"]]


async def test_a_key_that_may_only_read_changes_nothing_and_sees_no_secret(server: Running) -> None:
    own, reader = await server.key("t"), bearer(await server.key("t", "read"))
    made = await register(server, key=own)
    where = f"{ENDPOINTS}/{made['id']}"

    refused = [
        await server.post(ENDPOINTS, {"name": "n", "url": FAR, "event_types": TYPES}, **reader),
        await server.post(where, {"name": "x"}, **reader),
        await server.post(f"{where}/rotate_secret", {}, **reader),
        await server.post(f"{where}/test", {"event_type": "batch.completed"}, **reader),
        await delete(server, where, **reader),
        await server.get(SECRET, **reader),
        await server.post(f"{SECRET}/rotate", {}, **reader),
    ]

    assert {reply.error["code"] for reply in refused} == {"scope_missing"}
    shown = await server.get(where, **reader)
    assert made["signing_secret"] not in shown.body.decode()
    assert shown.json["signing_secret_hint"] == made["signing_secret_hint"]


async def test_a_key_that_may_only_write_neither_says_where_events_go_nor_sees_a_secret(server: Running) -> None:
    """Whoever could would have read all that events tell: it may only take an endpoint away."""
    own, writer = await server.key("t"), bearer(await server.key("t", "write"))
    made = await register(server, key=own)
    where = f"{ENDPOINTS}/{made['id']}"

    refused = [
        await server.post(ENDPOINTS, {"name": "n", "url": FAR, "event_types": TYPES}, **writer),
        await server.post(where, {}, **writer),
        await server.post(where, {"url": "https://else.invalid/"}, **writer),
        await server.post(f"{where}/rotate_secret", {}, **writer),
        await server.post(f"{where}/test", {"event_type": "batch.completed"}, **writer),
        await server.post(f"{DELIVERIES}/whd_1/redeliver", **writer),
        await server.post(f"{DELIVERIES}/redeliver", {"since": 0}, **writer),
        await server.get(SECRET, **writer),
        await server.post(f"{SECRET}/rotate", {}, **writer),
        *[await server.get(path, **writer) for path in (ENDPOINTS, where, DELIVERIES, f"{DELIVERIES}/whd_1")],
    ]
    unchanged = await server.get(where, **bearer(own))
    deleted = await delete(server, where, **writer)

    assert {(reply.status, reply.error["code"]) for reply in refused} == {(403, "scope_missing")}
    assert "--scopes read,write" in refused[0].error["message"]
    assert unchanged.json | {"signing_secret": made["signing_secret"]} == made
    assert (deleted.status, deleted.json["deleted"]) == (200, True)


async def test_a_clients_own_retry_makes_no_second_endpoint(server: Running) -> None:
    own, stranger = [bearer(await server.key(tenant)) for tenant in ("t", "else")]
    body: Json = {"name": "n", "url": FAR, "event_types": TYPES, "raincheck": {"include_result": True}}
    different: list[Json] = [body | {"event_types": ["*"]}, body | {"raincheck": {"signature": "v1a"}}]

    first = await server.post(ENDPOINTS, body, x_stainless_retry_count="0", **own)
    retried = await server.post(ENDPOINTS, body, x_stainless_retry_count="1", **own)
    others = [
        await server.post(ENDPOINTS, body, x_stainless_retry_count="0", **own),
        *[await server.post(ENDPOINTS, each, x_stainless_retry_count="1", **own) for each in different],
        await server.post(ENDPOINTS, body, x_stainless_retry_count="1", **stranger),
    ]

    assert retried.json == first.json
    assert first.json["signing_secret"].startswith("whsec_")
    assert len({reply.json["id"] for reply in (first, *others)}) == 5


@pytest.mark.parametrize("keep", [True, False])
async def test_a_clients_own_retry_of_a_rotation_voids_only_what_nobody_saw(tmp_path: Path, *, keep: bool) -> None:
    how = {"keep_old_secret_active_for_24_hours": keep}
    async with sending(tmp_path) as server, Receiver() as receiver:
        made = await register(server, receiver.at())
        where = f"{ENDPOINTS}/{made['id']}"
        await server.post(f"{where}/rotate_secret", how, x_stainless_retry_count="0")
        retried = await server.post(f"{where}/rotate_secret", how, x_stainless_retry_count="1")
        await server.post(f"{where}/test", {"event_type": "batch.completed"})
        [sent] = await receiver.wait()

    Webhook(retried.json["signing_secret"]).verify(sent.body, sent.headers)
    with nullcontext() if keep else pytest.raises(WebhookVerificationError):
        Webhook(made["signing_secret"]).verify(sent.body, sent.headers)


async def test_what_looks_like_a_retry_long_after_is_a_call_of_its_own(tmp_path: Path) -> None:
    clock = FakeClock()
    body: Json = {"name": "n", "url": FAR, "event_types": TYPES}
    async with running_server(tmp_path, change=lambda edge: replace(edge, clock=clock.now)) as server:
        first = await server.post(ENDPOINTS, body)
        clock.advance(seconds=REPEAT_WINDOW / SECOND)
        later = await server.post(ENDPOINTS, body, x_stainless_retry_count="2")

    assert later.json["id"] != first.json["id"]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "order=up", "after="])
async def test_a_page_that_cannot_be_is_refused(server: Running, query: str) -> None:
    reply = await server.get(f"{ENDPOINTS}?{query}")

    assert (reply.status, reply.error["param"]) == (400, query.partition("=")[0])


async def test_what_is_not_there_is_not_passed_on_to_an_upstream(server: Running) -> None:
    replies = [
        await server.post(f"{ENDPOINTS}/we_1/nothing", {"model": "m"}),
        await server.post("/v1/webhook_secret/nothing", {"model": "m"}),
    ]

    assert [reply.status for reply in replies] == [404, 404]
    assert server.upstream.requests == []
