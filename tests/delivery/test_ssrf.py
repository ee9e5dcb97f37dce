"""Where deliveries must not go: over real sockets, with everything that a URL, a name or a receiver might try.

Each row is refused when it is sent, whatever was checked before, and says why in the delivery log.
"""

import re
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from raincheck.core.addresses import webhook_problem
from raincheck.core.webhooks import DeliveryStatus, Sent
from raincheck.upstream.pinned import Resolve
from tests.delivery.receivers import a_certificate, a_receiver, a_sender, answering, sent_to

NOT_PUBLIC = "not on the public internet; the operator can allow it with webhooks.allow"


def resolving(*answers: Sequence[str]) -> Resolve:
    """A resolver that gives the next answer at each question, and the last for ever."""
    left = list(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


async def resolving_as_this_machine(host: str, port: int) -> Sequence[str]:
    """Takes every notation of an address that the C library takes; knows no names."""
    try:
        return [socket.inet_ntoa(socket.inet_aton(host))]
    except OSError as error:
        raise socket.gaierror(socket.EAI_NONAME, "unknown") from error


def refused(sent: Sent, code: str = "refused_address") -> str:
    """The reason in the log of an attempt that was refused for good."""
    assert sent.status is DeliveryStatus.FAILED
    assert sent.due_at is None
    assert sent.attempt.error_code == code
    assert sent.attempt.status_code is None
    assert sent.attempt.error is not None
    return sent.attempt.error


LITERALS = {
    "loopback": "127.0.0.1",
    "loopback elsewhere": "127.8.9.1",
    "this host": "0.0.0.0",
    "decimal": "2130706433",
    "octal": "0177.0.0.1",
    "long octal": "0000000177.0.0.01",
    "one octal": "017700000001",
    "hex": "0x7f.0.0.1",
    "one hex": "0x7f000001",
    "capital hex": "0X7F.0.0.0x1",
    "mixed": "0x7f.0.01",
    "short": "127.1",
    "shorter": "127.0.1",
    "shortest": "0",
    "trailing dot": "127.0.0.1.",
    "fullwidth dots": "127。0。0。1",
    "halfwidth dots": "127｡0｡0｡1",
    "fullwidth digits": "１２７.0.0.1",
    "circled digits": "①②⑦.⓪.⓪.①",
    "metadata": "169.254.169.254",
    "decimal metadata": "2852039166",
    "hex metadata": "0xA9FEA9FE",
    "octal metadata": "0251.0376.0251.0376",
    "another cloud's metadata": "100.100.100.200",
    "a third's": "168.63.129.16",
    "private": "10.0.0.1",
    "private too": "172.16.0.1",
    "and private": "192.168.1.1",
    "multicast": "224.0.0.1",
    "broadcast": "255.255.255.255",
    "IPv6 loopback": "[::1]",
    "IPv6 unspecified": "[::]",
    "IPv6 written out": "[0:0:0:0:0:0:0:1]",
    "IPv6 mapped": "[::ffff:127.0.0.1]",
    "IPv6 mapped in hex": "[::ffff:7f00:1]",
    "IPv6 mapped metadata": "[::ffff:169.254.169.254]",
    "IPv6 compatible": "[::127.0.0.1]",
    "IPv6 link-local": "[fe80::1]",
    "IPv6 unique local": "[fd00:ec2::254]",
    "NAT64": "[64:ff9b::7f00:1]",
    "NAT64 metadata": "[64:ff9b::169.254.169.254]",
    "local NAT64": "[64:ff9b:1::a00:1]",
    "6to4": "[2002:7f00:1::]",
    "Teredo": "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
    "localhost": "localhost",
    "capital localhost": "LocalHost",
    "localhost with a dot": "localhost.",
    "circled localhost": "ⓛocalhost",
    "below localhost": "app.localhost",
}


@pytest.mark.parametrize("host", LITERALS.values(), ids=list(LITERALS))
@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_an_address_is_refused_however_it_is_written(host: str, scheme: str) -> None:
    url = f"{scheme}://{host}/hook"
    async with a_sender(allowed=(), resolve=resolving_as_this_machine) as sender:
        reason = refused(await sent_to(url, sender))
    assert NOT_PUBLIC in reason
    assert webhook_problem(url) == reason


URLS = {
    "user": ("https://example.com@127.0.0.1/", "user name or a password"),
    "user and password": ("https://example.com:443@10.0.0.1/", "user name or a password"),
    "nobody": ("https://@example.com/", "user name or a password"),
    "encoded at": ("https://example.com%40127.0.0.1/", "names no host"),
    "encoded letters": ("https://%6c%6f%63alhost/", "names no host"),
    "encoded dot": ("https://127%2e0.0.1/", "names no host"),
    "backslash": ("https://example.com\\@127.0.0.1/", "backslash"),
    "space": ("https://example.com &@127.0.0.1/", "space"),
    "tab": ("https://local\thost/", "cannot be seen"),
    "line feed": ("https://example.com/\r\nx-evil: 1", "cannot be seen"),
    "null": ("https://example.com\0.evil.example/", "cannot be seen"),
    "zero-width space": ("https://local\u200bhost/", "cannot be seen"),
    "soft hyphen": ("https://local\u00adhost/", "cannot be seen"),
    "port zero": ("https://example.com:0/", "port"),
    "too high a port": ("https://example.com:65536/", "cannot be read"),
    "signed port": ("https://example.com:+443/", "port"),
    "fullwidth port": ("https://example.com:４43/", "port"),
    "two ports": ("https://example.com:443:22/", "cannot be read"),
    "word for a port": ("https://example.com:ssh/", "cannot be read"),
    "plain http": ("http://example.com/", "https"),
    "another scheme": ("gopher://127.0.0.1:6379/_", "https"),
    "file": ("file:///etc/passwd", "https"),
    "no scheme": ("//example.com/", "https"),
    "no host": ("https:///hook", "no host"),
    "no slashes": ("https:example.com", "no host"),
    "empty label": ("https://example..com/", "no host|read"),
    "only dots": ("https://../", "no host|read"),
    "long label": (f"https://{'a' * 64}.example/", "no host|read"),
    "open bracket": ("https://[::1/", "cannot be read"),
    "brackets around nothing": ("https://[]/", "no host|read"),
    "brackets around an older address": ("https://[127.0.0.1]/", "no host|read"),
    "network card": ("https://[fe80::1%25eth0]/", "neither an address"),
    "bare network card": ("https://[fe80::1%eth0]/", "neither an address"),
    "too many numbers": ("https://1.2.3.4.5/", "neither an address"),
    "too large a number": ("https://256.256.256.256/", "neither an address"),
    "no octal": ("https://08.8.8.8/", "neither an address"),
    "public, written oddly": ("https://134744072/", "write it like this"),
    "too long": ("https://example.com/" + "a" * 2048, "2048 characters"),
}


@pytest.mark.parametrize(("url", "why"), URLS.values(), ids=list(URLS))
async def test_a_url_that_readers_could_take_differently_is_refused(url: str, why: str) -> None:
    async with a_sender(allowed=(), resolve=resolving(["127.0.0.1"])) as sender:
        reason = refused(await sent_to(url, sender), "refused_url")
    assert re.search(why, reason)
    assert webhook_problem(url) == reason


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fe80::1%eth0", "::ffff:127.0.0.1", "64:ff9b::a00:1"]
)
async def test_a_name_that_leads_inside_is_refused(address: str) -> None:
    async with a_sender(allowed=(), resolve=resolving([address])) as sender:
        reason = refused(await sent_to("https://hook.example/", sender))
    assert reason == f"The name hook.example is {NOT_PUBLIC}."
    assert address not in reason  # where a name leads inside is nobody's business


@pytest.mark.parametrize("addresses", [["93.184.216.34", "127.0.0.1"], ["10.0.0.1", "93.184.216.34"]])
async def test_a_name_with_one_private_address_is_refused_for_all_of_them(addresses: list[str]) -> None:
    async with a_sender(allowed=(), resolve=resolving(addresses)) as sender:
        assert NOT_PUBLIC in refused(await sent_to("https://both.example/", sender))


async def test_what_is_accepted_for_localhost_is_sent_though_it_has_another_address() -> None:
    async with a_receiver() as receiver:
        url, allowed = receiver.url("localhost"), ("127.0.0.1",)
        assert webhook_problem(url, allowed) is None
        async with a_sender(allowed=allowed, resolve=resolving(["::1", "127.0.0.1"])) as sender:
            sent = await sent_to(url, sender)
    assert sent.status is DeliveryStatus.DELIVERED


async def test_a_name_that_turns_private_between_two_attempts_is_refused_at_the_second(tmp_path: Path) -> None:
    """Rebinding: it is looked up and checked anew for each connection, and what was checked is what is connected to."""
    async with a_receiver(tls=a_certificate(tmp_path)) as receiver:
        url = receiver.url("rebinding.example", scheme="https")
        async with a_sender(resolve=resolving(["127.0.0.1"], ["127.0.0.2"])) as sender:
            first = await sent_to(url, sender)
            assert first.attempt.error_code == "certificate"  # it got as far as to the one that was checked
            assert NOT_PUBLIC in refused(await sent_to(url, sender))


async def test_a_name_is_looked_up_once_for_an_attempt() -> None:
    """Between the check and the connection there is nothing that could change its mind."""
    asked = list[str]()

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    async with a_receiver() as receiver, a_sender(allowed=("rebinding.example",), resolve=resolve) as sender:
        sent = await sent_to(receiver.url("rebinding.example"), sender)
    assert sent.status is DeliveryStatus.DELIVERED
    assert asked == ["rebinding.example"]
    assert receiver.got[0].headers["host"] == f"rebinding.example:{receiver.port}"


async def test_a_name_that_leads_nowhere_is_refused() -> None:
    async with a_sender(allowed=(), resolve=resolving([])) as sender:
        assert NOT_PUBLIC in refused(await sent_to("https://hook.example/", sender))


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_a_redirect_to_the_metadata_is_not_followed(status: str) -> None:
    location = "http://169.254.169.254/latest/meta-data"
    async with a_receiver(answering(status, f"Location: {location}")) as receiver, a_sender() as sender:
        sent = await sent_to(receiver.url(), sender)
    assert sent.attempt.error_code == "redirect"
    assert sent.attempt.error == f"It answered {status[:3]}; redirects (to {location}) are not followed."
    assert sent.status is DeliveryStatus.PENDING  # its owner can mend that
    assert len(receiver.got) == 1


async def test_a_redirect_to_a_receiver_inside_brings_it_nothing() -> None:
    async with a_receiver() as inside, a_sender() as sender:
        answer = answering("307 Temporary", f"Location: {inside.url()}")
        async with a_receiver(answer) as receiver:
            await sent_to(receiver.url(), sender)
    assert inside.got == []
