"""Takes a POST of work to do, hands on either a recorded request or the upstream's own answer."""

from collections.abc import Callable

from litestar.types import Receive

from raincheck.core.errors import Stopping
from raincheck.core.ids import new_id
from raincheck.core.model import Submitted, Tenant
from raincheck.http.answer import Answer
from raincheck.http.auth import caller
from raincheck.http.codec import Parsed, parse
from raincheck.http.edge import Call, Edge, edge_of
from raincheck.http.presence import ClientGone
from raincheck.http.relayed import RelayedAnswer
from raincheck.http.render import ticket_json, view_json
from raincheck.http.waiting import preferences
from raincheck.intake.admit import admit
from raincheck.intake.gate import check_size
from raincheck.intake.submit import submit


def request_id() -> str:
    return new_id("req")


async def post(call: Call, path: str, *, make_id: Callable[[], str] = request_id) -> Answer | RelayedAnswer:
    """Defer or pass on a POST to `path` (below the upstream's base URL), as the call asks."""
    edge = edge_of(call)
    tenant = await caller(call, "write")
    body = await read_body(call.receive)
    check_size(tenant, len(body))
    headers = dict(call.scope["headers"])
    preferred = preferences(call) if b"prefer" in headers else {}
    parsed = parse(path, body, headers, prefers_async="respond-async" in preferred)
    edge.catalogue.require(parsed.submission.model)
    if not parsed.deferred:
        submission = parsed.submission
        return RelayedAnswer(edge.relay, submission.model, submission.path, submission.payload)
    submitted = await _record(edge, tenant, parsed, make_id())
    return await _accepted(edge, submitted, path, preferred)


async def read_body(receive: Receive) -> bytes:
    """The whole body; the guard has bounded its size and its time. Raises ClientGone."""
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        chunks.append(message["body"])
        if not message["more_body"]:
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _record(edge: Edge, tenant: Tenant, parsed: Parsed, fresh_id: str) -> Submitted:
    if edge.stopping():
        raise Stopping(retry_after=2)
    new = admit(
        parsed.submission,
        tenant,
        new_id=fresh_id,
        max_attempts=edge.settings.max_attempts,
        now=edge.clock(),
    )
    return await submit(edge.store.requests, new)


async def _accepted(edge: Edge, submitted: Submitted, path: str, preferred: dict[str, str]) -> Answer:
    request = submitted.request
    headers: list[tuple[str, str]] = []
    by_preference = "respond-async" in preferred
    whole = preferred.get("return") == "representation"
    if by_preference:
        applied = "respond-async, return=representation" if whole else "respond-async"
        headers = [("location", f"/v1/requests/{request.id}"), ("preference-applied", applied)]
    elif whole:
        headers = [("preference-applied", "return=representation")]
    if submitted.repeated:
        headers.append(("idempotency-replayed", "true"))
    if whole or (by_preference and path != "/chat/completions"):
        body = view_json(await edge.desk.complete(request))
    else:
        body = ticket_json(request)
    return Answer(body, 202 if by_preference else 200, headers=headers)
