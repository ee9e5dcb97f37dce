"""A receiver of webhooks on a real socket, that answers whatever a test wants; and leases to send to it."""

import asyncio
import datetime
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from raincheck.core.clock import SECOND, micros, now
from raincheck.core.model import Fence
from raincheck.core.webhooks import Delivery, DeliveryLease, Sent, SigningKey
from raincheck.delivery.keys import Sealer
from raincheck.delivery.send import Sender
from raincheck.upstream.pinned import Resolve

LOCAL = ("127.0.0.1",)
"""What lets a test's own receiver be called at all."""
SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldY"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Got:
    """One call, as it came."""

    head: bytes
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines) if name}


@dataclass
class Receiver:
    """Where it listens, and what it was told."""

    port: int = 0
    got: list[Got] = field(default_factory=list[Got])
    connections: int = 0

    def url(self, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}/hook"


@asynccontextmanager
async def a_receiver(
    answer: Answer | bytes | Sequence[bytes] = NO_CONTENT, *, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[Receiver]:
    """Listens on a free loopback port; of several answers each call gets the next. Bytes leave the connection open."""
    receiver = Receiver()
    talking = set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talking.add(task)
        receiver.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                got = await _call(reader)
                receiver.got.append(got)
                if callable(answer):
                    await answer(writer)
                    break
                answers = [answer] if isinstance(answer, bytes) else answer
                writer.write(answers[min(len(receiver.got), len(answers)) - 1])
                await writer.drain()
        writer.close()
        talking.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    async with server:
        yield receiver
        for task in list(talking):
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)


async def _call(reader: asyncio.StreamReader) -> Got:
    head = await reader.readuntil(b"\r\n\r\n")
    got = Got(head, b"")
    return Got(head, await reader.readexactly(int(got.headers.get("content-length", "0"))))


def answering(status: str, *headers: str, body: bytes = b"") -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@asynccontextmanager
async def a_sender(
    *,
    allowed: Sequence[str] = LOCAL,
    timeout: float = 5.0,
    resolve: Resolve | None = None,
    sealer: Sealer | None = None,
    clock: Callable[[], int] = now,
) -> AsyncGenerator[Sender]:
    """Whose retries are stretched by nothing."""
    sender = Sender(
        sealer=sealer or Sealer(),
        allowed=allowed,
        timeout=micros(timeout),
        resolve=resolve,
        clock=clock,
        stretch=lambda: 0.0,
    )
    try:
        yield sender
    finally:
        await sender.close()


def a_lease(url: str, *, attempt: int = 1, **fields: object) -> DeliveryLease:
    """Of a delivery to this URL; `fields` are the delivery's."""
    given: dict[str, object] = {
        "id": "whd_1",
        "tenant": "acme",
        "event_id": "evt_1",
        "type": "chat.completion.completed",
        "object_id": "req_1",
        "url": url,
        "created_at": 1_790_000_000 * SECOND,
        "attempt": attempt,
    }
    return DeliveryLease(fence=Fence("whd_1", 1), delivery=Delivery(**{**given, **fields}))  # pyright: ignore[reportArgumentType]


async def sent_to(url: str, sender: Sender, *, attempt: int = 1, body: bytes = b"{}") -> Sent:
    """How one attempt went."""
    return await sender.send(a_lease(url, attempt=attempt), body, SigningKey(SECRET, 0))


def a_certificate(folder: Path) -> ssl.SSLContext:
    """Of a server that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    begin = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=36_500))
        .sign(key, hashes.SHA256())
    )
    pem, both = serialization.Encoding.PEM, folder / "both.pem"
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    both.write_bytes(secret + made.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return context
