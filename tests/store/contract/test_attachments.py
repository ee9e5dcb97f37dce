"""What `protocol.Requests`, `Leases.finish` and `Blobs` promise of the files that belong to requests."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from raincheck.core.clock import DAY, HOUR, MINUTE, SECOND
from raincheck.core.errors import AttachmentGone, BadInput, IdempotencyConflict, NotFound, RaincheckError, ResultGone
from raincheck.core.model import Attachment, Lease, NewRequest, Result
from raincheck.core.status import Status
from raincheck.store.protocol import Store
from tests.store.builders import (
    ANSWER,
    RETENTION,
    FakeClock,
    Home,
    a_request,
    accepted,
    an_input,
    an_output,
    claimed,
    completed,
    failure,
    running,
    status,
    submitted,
    success,
    uploaded,
)


async def doomed(store: Store) -> list[str]:
    return sorted(await store.blobs.doomed(limit=99))


async def answers(store: Store, *batch: NewRequest) -> list[type[RaincheckError] | None]:
    found = await store.requests.submit(batch)
    return [type(answer) if isinstance(answer, RaincheckError) else None for answer in found]


async def finished(store: Store, lease: Lease, attachments: Sequence[Attachment], **reply: Any) -> None:
    for each in attachments:
        await store.blobs.expect(each.blob, keep_for=HOUR)
    assert await store.leases.finish([success(lease, attachments=tuple(attachments), **reply)]) == []


# --- inputs


async def test_inputs_are_kept_with_their_request_in_the_order_given(home: Home) -> None:
    """G1: on disk when submit returns, and their bodies are not doomed any more."""
    async with home.open() as store:
        given = (await an_input(store, "uploads/b", "b.png"), await an_input(store, "uploads/a", "a.png"))
        [request] = await submitted(store, attachments=given)
    home.clock.advance(seconds=2 * HOUR / SECOND)
    async with home.open() as store:
        assert await store.requests.attachments("t", request.id) == [*given]
        assert await doomed(store) == []


async def test_a_batch_keeps_each_requests_own_inputs(store: Store) -> None:
    first, second = await an_input(store, "uploads/1"), await an_input(store, "uploads/2")
    batch = [a_request(attachments=(first,)), a_request(), a_request(attachments=(second, first))]
    await store.requests.submit(batch)
    found = [await store.requests.attachments("t", new.id) for new in batch]
    assert found == [[first], [], [second, first]]


async def test_an_input_whose_body_is_unknown_is_gone_and_the_others_of_the_batch_are_not(store: Store) -> None:
    known = await an_input(store)
    lost = Attachment("input", "image.png", "uploads/unknown", "image/png", 1, "00" * 32)
    batch = [
        a_request(attachments=(known,)),
        a_request(attachments=(known, lost), idempotency_key="k", fingerprint=b"f"),
        a_request(),
    ]
    assert await answers(store, *batch) == [None, AttachmentGone, None]
    with pytest.raises(NotFound):
        await store.requests.get("t", batch[1].id)
    # The refused one took nothing: neither its key nor a hold on the body that is there.
    assert await answers(store, a_request(idempotency_key="k", fingerprint=b"g")) == [None]
    await store.requests.cancel("t", batch[0].id)
    await store.requests.delete("t", batch[0].id)
    assert await doomed(store) == ["uploads/a"]


async def test_an_input_whose_body_is_doomed_and_due_is_gone(store: Store, clock: FakeClock) -> None:
    given = await an_input(store)
    clock.advance(seconds=HOUR / SECOND - 1)
    assert await answers(store, a_request(attachments=(given,))) == [None]
    other = await an_input(store, "uploads/late")
    clock.advance(seconds=HOUR / SECOND)
    assert await answers(store, a_request(attachments=(other,))) == [AttachmentGone]
    assert await doomed(store) == ["uploads/late"]


async def test_a_refused_request_gives_its_inputs_no_hold(store: Store, clock: FakeClock) -> None:
    await submitted(store, idempotency_key="k", fingerprint=b"f")
    given = await an_input(store)
    batch = [
        a_request(attachments=(given,), max_pending=1),
        a_request(attachments=(given,), idempotency_key="k", fingerprint=b"other"),
    ]
    found = await store.requests.submit(batch)
    assert isinstance(found[1], IdempotencyConflict)
    assert isinstance(found[0], RaincheckError)
    clock.advance(seconds=HOUR / SECOND)
    assert await doomed(store) == ["uploads/a"]


async def test_a_repeat_is_answered_even_when_its_inputs_are_gone_and_takes_no_hold(store: Store) -> None:
    """G9."""
    given = await an_input(store)
    keyed: dict[str, Any] = {"idempotency_key": "k", "fingerprint": b"f"}
    [first] = await submitted(store, attachments=(given,), **keyed)
    await store.blobs.expect("uploads/again", keep_for=HOUR)
    for again in (given, Attachment("input", "image.png", "uploads/gone", "image/png", 1, "00" * 32)):
        [answer] = await store.requests.submit([a_request(attachments=(again,), **keyed)])
        assert accepted(answer).request.id == first.id
    await store.requests.cancel("t", first.id)
    await store.requests.delete("t", first.id)
    assert await doomed(store) == ["uploads/a"]


async def test_an_input_whose_name_has_a_nul_is_kept_or_refused(store: Store) -> None:
    given, odd = await an_input(store), await an_input(store, name="a\0b.png")
    refused, taken = await answers(store, a_request(attachments=(odd,)), a_request(attachments=(given,)))
    assert refused in {None, BadInput}
    assert taken is None


async def test_an_output_whose_name_has_a_nul_does_not_keep_the_result_from_being_read(store: Store) -> None:
    lease = await running(store)
    await finished(store, lease, [an_output(name="a\0b.mp4")])
    result = await store.requests.result("t", lease.fence.request_id)
    assert result is not None
    assert [each.name.startswith("a") for each in result.attachments] == [True]


# --- outputs


async def test_a_finish_records_the_outputs_and_the_result_names_them(home: Home) -> None:
    """G6: on disk when finish returns; the result comes with them in one question."""
    outputs = (an_output("outputs/v"), an_output("outputs/t", "thumbnail.webp"))
    async with home.open() as store:
        given = await an_input(store)
        lease = await running(store, attachments=(given,))
        assert await store.requests.result("t", lease.fence.request_id) is None
        await finished(store, lease, outputs)
    home.clock.advance(seconds=2 * HOUR / SECOND)
    async with home.open() as store:
        request_id = lease.fence.request_id
        assert await store.requests.attachments("t", request_id) == [given, *outputs]
        expected = Result(200, "application/json", ANSWER, attachments=outputs)
        assert await store.requests.result("t", request_id) == expected
        assert await doomed(store) == []


async def test_finishes_that_share_a_transaction_keep_each_its_own_outputs(store: Store) -> None:
    leases = [await running(store) for _ in range(5)]
    await asyncio.gather(*(finished(store, lease, [an_output(f"outputs/{lease.fence}")]) for lease in leases[:4]))
    await finished(store, leases[4], [])
    for lease in leases[:4]:
        result = await store.requests.result("t", lease.fence.request_id)
        assert result is not None
        assert [each.blob for each in result.attachments] == [f"outputs/{lease.fence}"]
    assert await store.requests.attachments("t", leases[4].fence.request_id) == []


async def test_two_outputs_and_a_result_may_share_one_body(store: Store) -> None:
    lease = await running(store)
    same = [an_output("outputs/same", "video.mp4"), an_output("outputs/same", "copy.mp4")]
    await finished(store, lease, same, blob="outputs/same", size=9)
    await store.requests.delete("t", lease.fence.request_id)
    assert await doomed(store) == ["outputs/same"]


async def test_a_lost_fence_writes_no_outputs_and_holds_nothing(store: Store, clock: FakeClock) -> None:
    """G2."""
    lease = await running(store)
    await store.requests.cancel("t", lease.fence.request_id)
    await store.blobs.expect("outputs/a", keep_for=HOUR)
    assert await store.leases.finish([success(lease, attachments=(an_output(),))]) == [lease.fence]
    assert await store.requests.attachments("t", lease.fence.request_id) == []
    clock.advance(seconds=HOUR / SECOND)
    assert await doomed(store) == ["outputs/a"]


async def test_a_finish_that_is_sent_twice_holds_its_outputs_once(store: Store) -> None:
    """G2."""
    lease = await running(store)
    await store.blobs.expect("outputs/a", keep_for=HOUR)
    finish = success(lease, attachments=(an_output(),))
    assert await store.leases.finish([finish]) == []
    assert await store.leases.finish([finish]) == [lease.fence]
    await store.requests.delete("t", lease.fence.request_id)
    assert await doomed(store) == ["outputs/a"]


async def test_a_finish_is_never_refused_for_its_outputs(store: Store) -> None:
    lease = await running(store)
    assert await store.leases.finish([success(lease, attachments=(an_output("outputs/never-noted"),))]) == []
    assert await status(store, lease.fence.request_id) is Status.COMPLETED


# --- who may see them


async def test_attachments_and_payloads_of_another_tenant_are_unknown(store: Store) -> None:
    """G8."""
    given = await an_input(store)
    [request] = await submitted(store, attachments=(given,))
    for tenant, request_id in (("else", request.id), ("t", "req_unknown"), ("t", "a\0b")):
        with pytest.raises(NotFound):
            await store.requests.attachments(tenant, request_id)
        assert await store.requests.payloads(tenant, [request_id]) == {}


async def test_payloads_are_those_that_were_submitted_and_are_still_there(store: Store, clock: FakeClock) -> None:
    old = await completed(store, payload=b"old")
    clock.advance(seconds=RETENTION / SECOND)
    await store.upkeep.purge(limit=9)
    first, second = [(await submitted(store, payload=body))[0] for body in (b"\x00\xff", b"two")]
    [other] = await submitted(store, tenant="else", payload=b"three")
    asked = [second.id, old, first.id, other.id, "req_unknown", first.id]
    assert await store.requests.payloads("t", asked) == {first.id: b"\x00\xff", second.id: b"two"}
    assert await store.requests.payloads("t", []) == {}


async def test_results_are_those_of_each_request_alone_while_they_are_there(store: Store, clock: FakeClock) -> None:
    """G8."""
    old = await completed(store)
    clock.advance(seconds=RETENTION / SECOND)
    await store.upkeep.purge(limit=9)
    leases = [await running(store) for _ in range(3)]
    await finished(store, leases[0], [an_output("outputs/b", name="b"), an_output("outputs/a", name="a")])
    await store.blobs.expect("results/1", keep_for=HOUR)
    assert await store.leases.finish([success(leases[1], b"", blob="results/1", size=9), failure(leases[2])]) == []
    foreign = await completed(store, tenant="else")
    first, second, failed = (lease.fence.request_id for lease in leases)
    [pending] = await submitted(store)

    found = await store.requests.results("t", [second, old, first, failed, pending.id, foreign, "a\0b", first])

    assert found == {each: await store.requests.result("t", each) for each in (first, second)}
    assert [each.name for each in found[first].attachments] == ["b", "a"]
    assert await store.requests.results("t", []) == {}
    assert await store.requests.results("else", [first]) == {}


# --- how long a body is kept


async def test_a_body_is_kept_for_as_long_as_any_of_its_holders(store: Store, clock: FakeClock) -> None:
    """G12: a file, an input and an output, in any order."""
    file = await uploaded(store, "shared")
    given = Attachment("input", "video.mp4", "shared", "video/mp4", 9, "ab" * 32)
    [first, second] = await submitted(store, 2, attachments=(given,))
    lease = await running(store, queue="other")
    assert await store.leases.finish([success(lease, attachments=(an_output("shared"),))]) == []
    clock.advance(seconds=2 * HOUR / SECOND)
    await store.files.delete("t", file.id)
    for request_id in (first.id, second.id):
        assert await doomed(store) == []
        await store.requests.cancel("t", request_id)
        await store.requests.delete("t", request_id)
    assert await doomed(store) == []
    await store.requests.delete("t", lease.fence.request_id)
    assert await doomed(store) == ["shared"]


async def test_what_nobody_holds_any_more_cannot_be_given_again(store: Store) -> None:
    file = await uploaded(store)
    await store.files.delete("t", file.id)
    given = Attachment("input", "image.png", "uploads/a", "image/png", 9, "ab" * 32)
    assert await answers(store, a_request(attachments=(given,))) == [AttachmentGone]


async def test_the_end_of_retention_lets_go_of_inputs_and_outputs(store: Store, clock: FakeClock) -> None:
    """G12."""
    given = await an_input(store, "uploads/in")
    lease = await running(store, attachments=(given,))
    await finished(store, lease, [an_output("outputs/out")])
    clock.advance(seconds=RETENTION / SECOND)
    assert await store.upkeep.purge(limit=9) == 1
    assert await doomed(store) == ["outputs/out", "uploads/in"]
    assert await store.requests.attachments("t", lease.fence.request_id) == []
    with pytest.raises(ResultGone):
        await store.requests.result("t", lease.fence.request_id)
    await store.blobs.gone(["outputs/out", "uploads/in"])
    clock.advance(seconds=RETENTION / SECOND)
    assert await store.upkeep.purge(limit=9) == 1
    with pytest.raises(NotFound):
        await store.requests.attachments("t", lease.fence.request_id)


async def test_requests_that_are_purged_together_let_go_of_what_they_share(store: Store, clock: FakeClock) -> None:
    given = [await an_input(store, f"uploads/{number}") for number in range(3)]
    shared = await submitted(store, 4, attachments=tuple(given))
    for request in shared[:3]:
        await store.requests.cancel("t", request.id)
    clock.advance(seconds=RETENTION / SECOND)
    assert await store.upkeep.purge(limit=9) == 3
    assert await doomed(store) == []
    await store.requests.cancel("t", shared[3].id)
    clock.advance(seconds=RETENTION / SECOND)
    assert await store.upkeep.purge(limit=9) == 4
    assert await doomed(store) == [each.blob for each in given]


async def test_two_that_delete_and_submit_at_once_agree_on_what_a_body_is(store: Store) -> None:
    """Whoever is first: the body is held, or the request is refused and the body doomed."""
    for number in range(5):
        file = await uploaded(store, f"uploads/{number}")
        given = Attachment("input", "image.png", file.blob, "image/png", 9, "ab" * 32)
        _, [refused] = await asyncio.gather(
            store.files.delete("t", file.id), answers(store, a_request(attachments=(given,)))
        )
        assert (file.blob in await doomed(store)) == (refused is AttachmentGone)


# --- requeue


async def test_a_requeued_copy_has_the_same_inputs_and_none_of_the_outputs(store: Store, clock: FakeClock) -> None:
    given = (await an_input(store, "uploads/b", "b.png"), await an_input(store, "uploads/a", "a.png"))
    lease = await running(store, attachments=given)
    assert await store.leases.finish([failure(lease)]) == []
    await store.requests.requeue("t", lease.fence.request_id, new_id="req_copy")
    assert await store.requests.attachments("t", "req_copy") == [*given]
    await store.requests.delete("t", lease.fence.request_id)
    clock.advance(seconds=DAY / SECOND)
    assert await doomed(store) == []
    assert [each.fence.request_id for each in await claimed(store)] == ["req_copy"]
    await store.requests.cancel("t", "req_copy")
    await store.requests.delete("t", "req_copy")
    assert await doomed(store) == ["uploads/a", "uploads/b"]


async def test_noting_a_body_that_something_holds_leaves_it_as_it_is(store: Store, clock: FakeClock) -> None:
    given = await an_input(store)
    await submitted(store, attachments=(given,))
    await store.blobs.expect(given.blob, keep_for=MINUTE)
    clock.advance(seconds=60)
    assert await doomed(store) == []
