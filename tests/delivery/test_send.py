"""One attempt: over real sockets, with receivers of every kind."""

import asyncio
import socket
import struct
import tracemalloc
from collections.abc import Sequence
from email.utils import formatdate
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from raincheck.core.clock import DAY, HOUR, MINUTE, SECOND
from raincheck.core.webhooks import DELAYS, DeliveryStatus, Sent, SigningKey
from raincheck.delivery.keys import Sealer, new_secret
from raincheck.delivery.send import not_sent
from raincheck.upstream.pinned import TooManyLookups, asker
from tests.delivery.receivers import (
    LOCAL,
    SECRET,
    Answer,
    a_certificate,
    a_lease,
    a_receiver,
    a_sender,
    answering,
    sent_to,
)

START = 1_790_000_000 * SECOND
SEALING = "a key of at least thirty-two characters"


def clock() -> int:
    return START


async def outcome(answer: Answer | bytes, *, timeout: float = 5.0, attempt: int = 1) -> Sent:
    """What becomes of an attempt at START that is answered like this."""
    async with a_receiver(answer) as receiver, a_sender(timeout=timeout, clock=clock) as sender:
        return await sent_to(receiver.url(), sender, attempt=attempt)


async def test_a_delivery_arrives_signed_with_all_its_headers() -> None:
    """Must-show 1: verified by the library of Standard Webhooks, over the wire."""
    body = '{"text":"grüß – 雨"}'.encode()
    async with a_receiver() as receiver, a_sender() as sender:
        sent = await sent_to(receiver.url(), sender, attempt=3, body=body)
    [got] = receiver.got
    assert got.body == body
    assert Webhook(SECRET).verify(got.body, got.headers) == {"text": "grüß – 雨"}
    told = {name: got.headers[name] for name in ("webhook-id", "raincheck-delivery", "raincheck-attempt")}
    assert told == {"webhook-id": "evt_1", "raincheck-delivery": "whd_1", "raincheck-attempt": "3"}
    assert got.headers["content-type"] == "application/json"
    assert got.headers["user-agent"].startswith("Raincheck/")
    assert got.headers["accept-encoding"] == "identity"
    assert not {"cookie", "authorization", "referer"} & set(got.headers)
    assert got.head.startswith(b"POST /hook HTTP/1.1\r\n")
    assert sent.status is DeliveryStatus.DELIVERED
    assert (sent.attempt.number, sent.attempt.status_code, sent.attempt.error) == (3, 204, None)
    assert sent.attempt.ended_at >= sent.attempt.started_at


async def test_the_secret_before_signs_too_while_they_overlap() -> None:
    old = new_secret()
    sealer = Sealer([SEALING])
    key = SigningKey(sealer.seal(SECRET), 0, ((sealer.seal(old), START + 1),))
    async with a_receiver() as receiver, a_sender(sealer=sealer, clock=clock) as sender:
        await sender.send(a_lease(receiver.url()), b"{}", key)
    assert len(receiver.got[0].headers["webhook-signature"].split(" ")) == 2


async def test_connections_are_kept_and_used_again() -> None:
    async with a_receiver(answering("200 OK", body=b"thanks")) as receiver, a_sender() as sender:
        for _ in range(3):
            await sent_to(receiver.url(), sender)
    assert len(receiver.got) == 3
    assert receiver.connections == 1


async def test_a_cookie_is_not_kept_and_a_proxy_in_the_environment_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_receiver(answering("200 OK", "Set-Cookie: a=b")) as receiver, a_receiver() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url())
        monkeypatch.setenv("http_proxy", proxy.url())
        async with a_sender() as sender:
            for _ in range(2):
                await sent_to(receiver.url(), sender)
    assert proxy.got == []
    assert "cookie" not in receiver.got[1].headers


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "202 Accepted", "204 No Content"])
async def test_every_2xx_delivers(status: str) -> None:
    assert (await outcome(answering(status))).status is DeliveryStatus.DELIVERED


@pytest.mark.parametrize("status", [300, 302, 304, 400, 401, 404, 408, 409, 422, 429, 500, 502, 503, 504])
async def test_everything_else_is_tried_again_by_the_schedule(status: int) -> None:
    sent = await outcome(answering(f"{status} No"), attempt=2)
    assert sent.status is DeliveryStatus.PENDING
    assert sent.due_at == START + DELAYS[2]
    assert sent.attempt.status_code == status
    assert str(status) in (sent.attempt.error or "")
    assert sent.blame
    assert not sent.gone


async def test_after_the_last_attempt_it_is_given_up() -> None:
    sent = await outcome(answering("500 No"), attempt=len(DELAYS))
    assert sent.status is DeliveryStatus.FAILED
    assert sent.due_at is None


async def test_a_receiver_that_is_gone_is_not_tried_again() -> None:
    sent = await outcome(answering("410 Gone"))
    assert sent.status is DeliveryStatus.FAILED
    assert sent.gone
    assert (sent.attempt.error_code, sent.attempt.error) == ("gone", "It answered 410.")


@pytest.mark.parametrize(
    ("asked", "wait"),
    [
        ("600", 10 * MINUTE),
        ("2", DELAYS[1]),  # the schedule is later
        ("0", DELAYS[1]),
        (formatdate(START / SECOND + 3600, usegmt=True), HOUR),
        (formatdate(START / SECOND - 3600, usegmt=True), DELAYS[1]),
        ("99999999999999999999", DAY),
        ("Fri, 31 Dec 9999 23:59:59 GMT", DAY),
        ("-5", DELAYS[1]),
        ("soon", DELAYS[1]),
        ("", DELAYS[1]),
        ("٣٠٠", DELAYS[1]),
    ],
)
async def test_retry_after_is_honoured_up_to_a_day(asked: str, wait: int) -> None:
    sent = await outcome(answering("500 No", f"Retry-After: {asked}"))
    assert sent.due_at == START + wait
    assert sent.pause_until is None


@pytest.mark.parametrize("status", ["429 Slow", "503 Down"])
async def test_who_asks_to_be_left_alone_is(status: str) -> None:
    sent = await outcome(answering(status, "Retry-After: 600"))
    assert sent.pause_until == sent.due_at == START + 10 * MINUTE
    assert (await outcome(answering(status))).pause_until is None


async def test_a_secret_that_cannot_be_opened_is_no_fault_of_the_receiver() -> None:
    key = SigningKey(Sealer([SEALING]).seal(SECRET), 0)
    async with a_receiver() as receiver, a_sender(clock=clock) as sender:
        sent = await sender.send(a_lease(receiver.url()), b"{}", key)
    assert (sent.status, sent.due_at, sent.blame) == (DeliveryStatus.PENDING, START + DELAYS[1], False)
    assert sent.attempt.error_code == "secret_sealed"
    assert receiver.got == []


async def test_a_host_that_was_not_looked_up_for_want_of_room_is_not_blamed() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        raise TooManyLookups

    async with a_sender(resolve=resolve, clock=clock) as sender:
        sent = await sent_to("https://hook.example/", sender)
    assert (sent.status, sent.due_at, sent.blame) == (DeliveryStatus.PENDING, START + DELAYS[1], False)
    assert sent.attempt.error_code == "too_many_lookups"


async def test_names_are_looked_up_on_behalf_of_the_tenant() -> None:
    askers = list[str]()

    async def resolve(host: str, port: int) -> Sequence[str]:
        askers.append(asker.get())
        return ["127.0.0.1"]

    async with a_receiver() as receiver, a_sender(allowed=("hook.example",), resolve=resolve) as sender:
        await sent_to(receiver.url("hook.example"), sender)
    assert askers == ["acme"]


async def test_what_came_to_nothing_here_is_given_up_at_last() -> None:
    lease = a_lease("https://example.com/", attempt=len(DELAYS))
    sent = not_sent(lease, "broken", "Ours.", started_at=START, now=START, stretch=0.0)
    assert (sent.status, sent.blame) == (DeliveryStatus.FAILED, False)


# --- receivers in trouble, and those who make it


async def never(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def drip_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nx-more: ")
    await drip_body(writer)


async def drip_body(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("answer", [never, drip_headers])
async def test_who_does_not_answer_in_time_is_tried_again(answer: Answer) -> None:
    sent = await outcome(answer, timeout=0.15)
    assert sent.status is DeliveryStatus.PENDING
    assert (sent.attempt.error_code, sent.attempt.error) == ("timeout", "It timed out after 0.15 s.")
    assert sent.attempt.status_code is None


async def test_a_body_that_drips_does_not_undo_what_the_status_says() -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n")
        await drip_body(writer)

    sent = await outcome(answer, timeout=0.15)
    assert sent.status is DeliveryStatus.DELIVERED
    assert (sent.attempt.response or "").startswith("xx")


async def test_an_endless_body_is_cut_with_memory_flat() -> None:
    """G12: what a receiver sends is bounded."""
    block = b"y" * (1 << 20)

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 No\r\n\r\n")
        while True:
            writer.write(block)
            await writer.drain()

    tracemalloc.start()
    sent = await outcome(answer)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sent.attempt.response == "y" * 1024
    assert sent.attempt.status_code == 500
    assert most < 16 << 20


@pytest.mark.parametrize("line", [b"x-more: " + b"x" * 100 + b"\r\n", b"x" * 10_000])
async def test_g12_endless_headers_are_cut_with_memory_flat(line: bytes) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(line)
            await writer.drain()

    tracemalloc.start()
    sent = await outcome(answer)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sent.status is DeliveryStatus.PENDING
    assert sent.attempt.error_code == "no_http"
    assert most < 16 << 20


def endless(block: bytes, beginning: bytes = b"") -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(beginning)
        while True:
            writer.write(block)
            await writer.drain()

    return answer


ENDLESS = {
    "interim answers": endless(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 3000),
    "short interim answers": endless(b"HTTP/1.1 100\r\n\r\n" * 3000),
    "blank lines": endless(b"\r\n" * 30_000),
    "reason": endless(b"x" * 65_536, b"HTTP/1.1 200 "),
}


@pytest.mark.parametrize("answer", ENDLESS.values(), ids=list(ENDLESS))
async def test_g12_what_never_comes_to_the_answer_is_cut(answer: Answer) -> None:
    tracemalloc.start()
    sent = await outcome(answer)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (sent.status, sent.attempt.error_code) == (DeliveryStatus.PENDING, "no_http")
    assert most < 4 << 20


async def test_g12_an_endless_chunk_extension_is_cut_and_the_status_has_decided() -> None:
    head = b"HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n1;"
    async with asyncio.timeout(4):
        sent = await outcome(endless(b"x" * 65_536, head))
    assert (sent.status, sent.attempt.status_code) == (DeliveryStatus.PENDING, 500)


async def test_a_few_interim_answers_are_passed_over() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    async with a_receiver(interim + answering("200 OK", body=b"thanks")) as receiver, a_sender() as sender:
        for _ in range(10):  # each attempt counts for itself
            assert (await sent_to(receiver.url(), sender)).attempt.response == "thanks"
    assert receiver.connections == 1


@pytest.mark.parametrize("said", [b"220 ESMTP\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x28", b"HTTP/9.9 x\r\n\r\n"])
async def test_what_is_no_http_is_tried_again(said: bytes) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()

    sent = await outcome(answer)
    assert sent.status is DeliveryStatus.PENDING
    assert sent.attempt.error_code == "no_http"


async def reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Says nothing and goes."""


@pytest.mark.parametrize("answer", [reset, hang_up])
async def test_a_connection_that_breaks_is_tried_again(answer: Answer) -> None:
    sent = await outcome(answer)
    assert sent.status is DeliveryStatus.PENDING
    assert sent.attempt.error_code == "disconnected"


async def test_a_port_where_nobody_listens_is_tried_again() -> None:
    async with a_receiver() as receiver:
        url = receiver.url()
    async with a_sender() as sender:
        sent = await sent_to(url, sender)
    assert sent.status is DeliveryStatus.PENDING
    assert sent.attempt.error_code == "unreachable"


async def test_a_certificate_that_nobody_vouches_for_is_told_of(tmp_path: Path) -> None:
    async with a_receiver(tls=a_certificate(tmp_path)) as receiver, a_sender() as sender:
        sent = await sent_to(receiver.url(scheme="https"), sender)
    assert sent.status is DeliveryStatus.PENDING
    assert sent.attempt.error_code == "certificate"
    assert sent.attempt.error == "Its certificate is not good: self-signed certificate."
    assert receiver.got == []


async def test_a_receiver_without_tls_is_told_of() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answering("400 This is not TLS"))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server, a_sender() as sender:
        sent = await sent_to(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/", sender)
    assert sent.status is DeliveryStatus.PENDING
    assert (sent.attempt.error_code, sent.attempt.error) == ("tls", "No TLS connection could be made.")


@pytest.mark.parametrize("code", [socket.EAI_NONAME, socket.EAI_AGAIN])
async def test_a_name_that_cannot_be_looked_up_is_tried_again(code: int) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(code, "no")

    async with a_sender(resolve=resolve) as sender:
        sent = await sent_to("https://hook.example/", sender)
    assert sent.status is DeliveryStatus.PENDING
    assert sent.attempt.error_code == "unknown_host"


async def test_a_name_that_is_looked_up_for_ever_runs_out_of_time() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return ()

    async with a_sender(resolve=resolve, timeout=0.1) as sender:
        assert (await sent_to("https://hook.example/", sender)).attempt.error_code == "timeout"


async def test_what_the_log_keeps_of_an_answer_is_safe_to_show() -> None:
    body = b"a\x00b\x1b[31mc\r\n\xff" + "é\u202e".encode() + b"z" * 1006 + "é".encode()
    sent = await outcome(answering("500 No", body=body))
    assert sent.attempt.response == "a�b�[31mc\n�é�" + "z" * 1006


async def test_a_compressed_answer_is_not_unpacked() -> None:
    sent = await outcome(answering("500 No", "Content-Encoding: gzip", body=b"not gzip at all"))
    assert sent.attempt.response == "not gzip at all"


async def test_where_a_redirect_leads_is_shown_safely_and_in_short() -> None:
    sent = await outcome(answering("302 Found", "Location: http://x/" + "a" * 1000))
    assert len(sent.attempt.error or "") < 300
    assert sent.attempt.error_code == "redirect"


async def test_nothing_that_is_kept_of_an_attempt_has_the_secret_in_it() -> None:
    async with a_receiver(hang_up) as receiver, a_sender() as sender:
        lease = a_lease(receiver.url())
        sent = await sender.send(lease, b"{}", SigningKey(SECRET, 0))
        assert SECRET not in repr((sent, lease, sender, SigningKey(SECRET, 0)))


@pytest.mark.parametrize("allowed", [("127.0.0.0/8",), ("127.0.0.1",), LOCAL])
async def test_what_the_operator_allows_may_be_called_by_plain_http(allowed: Sequence[str]) -> None:
    async with a_receiver() as receiver, a_sender(allowed=allowed) as sender:
        assert (await sent_to(receiver.url(), sender)).status is DeliveryStatus.DELIVERED
