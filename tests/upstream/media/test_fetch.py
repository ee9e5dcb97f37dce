"""Fetching from strangers: over real sockets, with everything they might try."""

import asyncio
import datetime
import gzip
import re
import socket
import ssl
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from raincheck.core.errors import MediaRefused, UpstreamBroke
from raincheck.upstream.media.fetch import Patience, Resolve, fetch, looked_up
from raincheck.upstream.media.limits import MediaLimits
from raincheck.upstream.pinned import TooManyLookups
from tests.upstream.media.strangers import a_stranger, http

LOCAL = MediaLimits(max_bytes=1000, hosts=("127.0.0.1",))
"""What lets a test's own server be fetched from at all."""


def resolving(*answers: Sequence[str]) -> tuple[Resolve, list[str]]:
    """A resolver that gives the next answer at each question; and the questions."""
    questions = list[str]()

    async def resolve(host: str, port: int) -> Sequence[str]:
        questions.append(host)
        return answers[min(len(questions), len(answers)) - 1]

    return resolve, questions


async def refused(
    url: str,
    to: Path,
    limits: MediaLimits = LOCAL,
    *,
    resolve: Resolve = looked_up,
    patience: Patience | None = None,
) -> str:
    """What the refusal says; nothing is left on the disk, and no secret of the link is told."""
    with pytest.raises(MediaRefused) as caught:
        await fetch(url, to, limits, resolve=resolve, patience=patience)
    assert not to.exists()
    assert "hush" not in caught.value.message
    return caught.value.message


async def broke(url: str, to: Path, limits: MediaLimits = LOCAL, *, patience: Patience | None = None) -> str:
    """What a failure says after which another try makes sense."""
    with pytest.raises(UpstreamBroke) as caught:
        await fetch(url, to, limits, patience=patience)
    assert not to.exists()
    assert "hush" not in caught.value.message
    return caught.value.message


async def test_a_file_is_fetched_byte_for_byte(tmp_path: Path) -> None:
    body = bytes(range(250)) * 4
    async with a_stranger(http(body)) as stranger:
        await fetch(stranger.url(), tmp_path / "in", LOCAL)
    assert (tmp_path / "in").read_bytes() == body
    head = stranger.asked[0].lower()
    assert b"accept-encoding: identity" in head
    assert b"cookie" not in head
    assert b"authorization" not in head


async def test_a_proxy_in_the_environment_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_stranger(http(b"mine")) as stranger, a_stranger(http(b"proxied")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        await fetch(stranger.url(), tmp_path / "in", LOCAL)
    assert (tmp_path / "in").read_bytes() == b"mine"
    assert proxy.asked == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "127.1", "0x7f.1", "[::ffff:127.0.0.1]"])
async def test_loopback_is_refused_however_it_is_written(host: str, tmp_path: Path) -> None:
    async with a_stranger(http(b"secret")) as stranger:
        said = await refused(stranger.url(host), tmp_path / "in", MediaLimits())
    assert "not on the public internet" in said
    assert "media.allowed_hosts" in said
    assert stranger.asked == []


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "10.0.0.1", "100.100.100.200"])
async def test_the_private_net_and_the_clouds_metadata_are_refused(host: str, tmp_path: Path) -> None:
    assert "not on the public internet" in await refused(f"http://{host}/latest/meta-data?hush", tmp_path / "in")


async def test_a_name_with_one_private_address_is_refused_for_all_of_them(tmp_path: Path) -> None:
    async with a_stranger(http(b"secret")) as stranger:
        resolve, _ = resolving(["93.184.216.34", "127.0.0.1"])
        said = await refused(stranger.url("both.example"), tmp_path / "in", MediaLimits(), resolve=resolve)
    assert "not on the public internet" in said
    assert "127.0.0.1" not in said  # where a name leads inside is nobody's business
    assert stranger.asked == []


async def test_a_name_that_changes_its_mind_after_the_check_gains_nothing(tmp_path: Path) -> None:
    """The first answer is the only one: what is connected to is what was checked."""
    async with a_stranger(http(b"of the first")) as stranger:
        resolve, questions = resolving(["127.0.0.1"], ["127.0.0.2"])
        await fetch(stranger.url("rebinding.example"), tmp_path / "in", LOCAL, resolve=resolve)
    assert (tmp_path / "in").read_bytes() == b"of the first"
    assert questions == ["rebinding.example"]
    assert b"host: rebinding.example" in stranger.asked[0].lower()


async def test_a_name_that_turns_private_is_refused_when_asked_again(tmp_path: Path) -> None:
    async with a_stranger(http(b"x")) as stranger:
        resolve, _ = resolving(["127.0.0.1"], ["127.0.0.2"])
        await fetch(stranger.url("rebinding.example"), tmp_path / "in", LOCAL, resolve=resolve)
        await refused(stranger.url("rebinding.example"), tmp_path / "again", resolve=resolve)
    assert len(stranger.asked) == 1


async def test_a_redirect_to_loopback_is_not_followed(tmp_path: Path) -> None:
    async with a_stranger(http(b"secret")) as inside:
        answer = http(b"", f"Location: {inside.url('localhost')}", status="302 Found")
        async with a_stranger(answer) as stranger:
            said = await refused(stranger.url(), tmp_path / "in")
    assert "redirect (302)" in said
    assert inside.asked == []


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("file:///etc/passwd", "Only http and https"),
        ("ftp://example.com/x", "Only http and https"),
        ("data:video/mp4;base64,AAAA", "Only http and https"),
        ("clip.mp4", "Only http and https"),
        ("", "Only http and https"),
        ("http://", "URL|host"),
        ("http://user:hush@example.com/x", "user name or a password"),
        ("http://example.com:99999/x", "URL"),
        ("http://[::1/x", "URL"),
        (f"http://{'a' * 80}.example/x", "There is no host"),
        ("http://a..example/x", "There is no host|URL"),
    ],
)
async def test_what_is_no_plain_web_link_is_refused(url: str, why: str, tmp_path: Path) -> None:
    assert re.search(why, await refused(url, tmp_path / "in"))


async def test_a_name_that_does_not_exist_is_refused_and_a_resolver_in_trouble_is_worth_another_try(
    tmp_path: Path,
) -> None:
    async def unknown(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    async def in_trouble(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_AGAIN, "later")

    assert "There is no host" in await refused("http://nowhere.example/", tmp_path / "in", resolve=unknown)
    with pytest.raises(UpstreamBroke, match="could not be looked up"):
        await fetch("http://nowhere.example/", tmp_path / "in", LOCAL, resolve=in_trouble)


async def test_ten_gibibytes_are_refused_by_their_announcement(tmp_path: Path) -> None:
    async with a_stranger(http(b"x", length=10 << 30)) as stranger:
        said = await refused(stranger.url(), tmp_path / "in")
    assert said == "The file at 127.0.0.1 is larger than 1000 bytes."


async def test_an_endless_body_is_cut_at_the_limit_with_memory_flat(tmp_path: Path) -> None:
    """G12: what a stranger sends is bounded on disk and never whole in memory."""
    block = bytes(1 << 20)

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(block)
            await writer.drain()

    limits = MediaLimits(max_bytes=64 << 20, hosts=("127.0.0.1",))
    async with a_stranger(endless) as stranger:
        tracemalloc.start()
        said = await refused(stranger.url(), tmp_path / "in", limits)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert said == "The file at 127.0.0.1 is larger than 64 MiB."
    assert most < 16 << 20


async def test_a_body_shorter_than_announced_is_worth_another_try(tmp_path: Path) -> None:
    async with a_stranger(http(b"half", length=8)) as stranger:
        assert "broke off" in await broke(stranger.url(), tmp_path / "in")


async def test_a_slow_drip_ends_with_the_patience_for_the_whole(tmp_path: Path) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with a_stranger(drip) as stranger:
        said = await broke(stranger.url(), tmp_path / "in", patience=Patience(whole=0.2, silence=5))
    assert "too slow" in said


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nx-more: "])
async def test_g12_who_sends_slower_than_the_pace_is_refused_for_good(head: bytes, tmp_path: Path) -> None:
    """Another try would hold the place for as long again."""

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    patience = Patience(whole=30, silence=5, head_start=0.1, pace=2048)
    async with a_stranger(drip) as stranger, asyncio.timeout(5):
        said = await refused(stranger.url(), tmp_path / "in", patience=patience)
    assert said == "127.0.0.1 was too slow in sending the file: it must come at 2 KiB a second, and within 30 seconds."


async def test_who_keeps_the_pace_may_take_longer_than_the_head_start(tmp_path: Path) -> None:
    async def steadily(writer: asyncio.StreamWriter) -> None:
        writer.write(http(length=1000))
        for _ in range(10):
            writer.write(bytes(100))
            await writer.drain()
            await asyncio.sleep(0.04)

    patience = Patience(whole=30, head_start=0.3, pace=400)
    async with a_stranger(steadily) as stranger:
        await fetch(stranger.url(), tmp_path / "in", LOCAL, patience=patience)
    assert (tmp_path / "in").stat().st_size == 1000


async def test_however_well_it_comes_there_is_an_end_to_it(tmp_path: Path) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"xx")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with a_stranger(endless) as stranger:
        said = await refused(stranger.url(), tmp_path / "in", patience=Patience(whole=0.1, pace=1))
    assert "too slow" in said


async def test_a_name_that_is_looked_up_for_ever_is_worth_another_try(tmp_path: Path) -> None:
    async def asking(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return ()

    with pytest.raises(UpstreamBroke, match="too slow"):
        await fetch("http://nowhere.example/", tmp_path / "in", LOCAL, resolve=asking, patience=Patience(connect=0.05))


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nx"])
async def test_silence_ends_the_fetch(begun: bytes, tmp_path: Path) -> None:
    async def silent(writer: asyncio.StreamWriter) -> None:
        writer.write(begun)
        await asyncio.Event().wait()

    async with a_stranger(silent) as stranger:
        said = await broke(stranger.url(), tmp_path / "in", patience=Patience(whole=30, silence=0.1))
    assert "too slow" in said


async def test_a_compressed_answer_is_refused_without_unpacking_it(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(1 << 20))
    limits = MediaLimits(hosts=("127.0.0.1",))
    async with a_stranger(http(bomb, "Content-Encoding: gzip")) as stranger:
        assert "compressed" in await refused(stranger.url(), tmp_path / "in", limits)


@pytest.mark.parametrize("status", ["404 Not Found", "403 Forbidden", "410 Gone", "204 No Content", "206 Partial"])
async def test_an_answer_without_the_file_is_refused_with_its_status(status: str, tmp_path: Path) -> None:
    async with a_stranger(http(status=status)) as stranger:
        assert f"answered {status[:3]} instead of a file" in await refused(stranger.url(), tmp_path / "in")


@pytest.mark.parametrize("status", ["500 Oh", "503 Busy", "429 Slowly", "408 Timeout"])
async def test_a_stumble_is_worth_another_try(status: str, tmp_path: Path) -> None:
    async with a_stranger(http(status=status)) as stranger:
        assert f"answered {status[:3]}" in await broke(stranger.url(), tmp_path / "in")


async def test_a_closed_port_and_something_that_is_no_http_are_worth_another_try(tmp_path: Path) -> None:
    async with a_stranger(b"SSH-2.0-OpenSSH\r\n\r\n") as stranger:
        assert "no HTTP" in await broke(stranger.url(), tmp_path / "in")
    assert "cannot be reached" in await broke(stranger.url(), tmp_path / "in")


async def test_endless_headers_break_the_fetch_and_not_the_memory(tmp_path: Path) -> None:
    async def headers(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"x-more: " + b"y" * 1000 + b"\r\n")
            await writer.drain()

    async with a_stranger(headers) as stranger:
        await broke(stranger.url(), tmp_path / "in")


@pytest.mark.parametrize(
    ("head", "block"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 3000),
        (b"", b"\r\n" * 30_000),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;", b"x" * 65_536),
    ],
    ids=["interim answers", "blank lines", "chunk extension"],
)
async def test_g12_endless_bytes_that_are_no_content_break_the_fetch(head: bytes, block: bytes, tmp_path: Path) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(block)
            await writer.drain()

    tracemalloc.start()
    async with asyncio.timeout(10), a_stranger(answer) as stranger:
        assert "broke" in await broke(stranger.url(), tmp_path / "in")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 << 20


async def test_a_large_file_in_small_chunks_is_fetched_byte_for_byte(tmp_path: Path) -> None:
    chunks = [bytes([number % 256]) * 16 for number in range(30_000)]
    framed = b"".join(b"10\r\n%s\r\n" % chunk for chunk in chunks) + b"0\r\n\r\n"
    limits = MediaLimits(max_bytes=2 << 20, hosts=LOCAL.hosts)
    async with a_stranger(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + framed) as stranger:
        await fetch(stranger.url(), tmp_path / "in", limits)
    assert (tmp_path / "in").read_bytes() == b"".join(chunks)


async def test_a_name_is_worth_another_try_when_too_many_are_being_looked_up(tmp_path: Path) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        raise TooManyLookups

    with pytest.raises(UpstreamBroke, match="Too many names"):
        await fetch("http://busy.example/", tmp_path / "in", LOCAL, resolve=resolve)


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    async with a_stranger(http(b"x"), tls=self_signed(tmp_path)) as stranger:
        said = await refused(stranger.url(scheme="https"), tmp_path / "in")
    assert said == "The certificate of 127.0.0.1 is not valid."
    assert stranger.asked == []


async def test_a_cancelled_fetch_leaves_nothing(tmp_path: Path) -> None:
    sent = asyncio.Event()

    async def half(writer: asyncio.StreamWriter) -> None:
        writer.write(http(b"half", length=900))
        await writer.drain()
        sent.set()
        await asyncio.Event().wait()

    async with a_stranger(half) as stranger:
        fetching = asyncio.create_task(fetch(stranger.url(), tmp_path / "in", LOCAL))
        await sent.wait()
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
    assert not (tmp_path / "in").exists()


def self_signed(folder: Path) -> ssl.SSLContext:
    """A server's side with a certificate that it made itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    begin = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    builder = builder.not_valid_before(begin).not_valid_after(begin + datetime.timedelta(days=36_500))
    certificate = builder.sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    both = folder / "both.pem"
    both.write_bytes(secret + certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return context
