"""Takes a POST of work to do, hands on either a recorded request or the upstream's own answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from litestar.types import Receive

from raincheck.core.errors import ScopeMissing, Stopping
from raincheck.core.ids import new_id
from raincheck.core.model import Request, Submitted, Tenant
from raincheck.core.operations import operation_of
from raincheck.http.answer import Answer
from raincheck.http.auth import caller, may_read
from raincheck.http.codec import parse
from raincheck.http.deferred import outcome
from raincheck.http.edge import Call, edge_of
from raincheck.http.presence import ClientGone
from raincheck.http.relayed import RelayedAnswer
from raincheck.http.render import ticket_json
from raincheck.http.showing import shown
from raincheck.http.stored import StoredAnswer
from raincheck.http.waiting import Wait, preferences, preferred_wait, read, wait_on
from raincheck.intake.admit import Submission, admit
from raincheck.intake.gate import check_size
from raincheck.intake.submit import submit


def request_id() -> str:
    return new_id("req")


async def post(
    call: Call, path: str, *, make_id: Callable[[], str] = request_id
) -> Answer | RelayedAnswer | StoredAnswer:
    """Defer or pass on a POST to `path` (below the upstream's base URL), as the call asks."""
    tenant = await caller(call, "write")
    body = await read_body(call.receive)
    check_size(tenant, len(body))
    return await posted(call, tenant, path, body, make_id=make_id)


async def posted(
    call: Call, tenant: Tenant, path: str, body: bytes, *, make_id: Callable[[], str] = request_id
) -> Answer | RelayedAnswer | StoredAnswer:
    """The same with a body that was read already."""
    edge = edge_of(call)
    headers = dict(call.scope["headers"])
    preferred = preferences(call) if b"prefer" in headers else {}
    parsed = parse(path, body, headers, prefers_async="respond-async" in preferred)
    edge.catalogue.require(parsed.submission.model, operation_of(path))
    if not parsed.deferred:
        submission = parsed.submission
        return RelayedAnswer(edge.relay, submission.model, submission.path, submission.payload)
    asked = await asked_of(call, preferred, headers)
    submitted, request = await record(call, tenant, parsed.submission, make_id(), asked)
    if asked.wait is not None and request.status.final and not asked.whole:
        return await outcome(call, request, told(submitted, request, asked))
    whole = asked.whole or (asked.respond_async and path != "/chat/completions")
    body = await shown(call, request) if whole else ticket_json(request)
    return Answer(body, 202 if asked.later(request) else 200, headers=told(submitted, request, asked))


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


@dataclass(frozen=True, slots=True)
class Asked:
    """What the call prefers about the answer to a submit."""

    respond_async: bool
    whole: bool
    """The request object, whatever else the answer might be."""
    wait: str | None = None
    """The seconds to wait as they are confirmed, None when it shall not wait."""
    seconds: float = 0

    def later(self, request: Request) -> bool:
        """Whether the answer says 202: accepted, and the end is still to come."""
        return self.respond_async and not (self.wait is not None and request.status.final)

    def applied(self, request: Request) -> str:
        """The preferences that this answer follows."""
        applied = ["respond-async"] if self.later(request) else []
        applied += ["return=representation"] if self.whole else []
        applied += [] if self.wait is None else [f"wait={self.wait}"]
        return ", ".join(applied)


async def asked_of(call: Call, preferred: Mapping[str, str], headers: Mapping[bytes, bytes]) -> Asked:
    """What a call prefers, as far as its key may."""
    asked = Asked("respond-async" in preferred, preferred.get("return") == "representation")
    # A key that may only write sees no results; it need not wait for them.
    if "wait" not in preferred or not await may_read(call):
        return asked
    length, seconds = preferred_wait(preferred["wait"], headers)
    return replace(asked, wait=f"{length:g}", seconds=seconds)


async def record(
    call: Call, tenant: Tenant, submission: Submission, fresh_id: str, asked: Asked
) -> tuple[Submitted, Request]:
    """What became of the submit, and the request as it stands when the call's time to wait is over."""
    edge = edge_of(call)
    if edge.stopping():
        raise Stopping(retry_after=2)
    if submission.options.include_result and not await may_read(call):
        raise ScopeMissing("include_result tells the result, and this API key may not read.", param="include_result")
    new = admit(
        submission,
        tenant,
        new_id=fresh_id,
        max_attempts=edge.settings.max_attempts,
        now=edge.clock(),
        webhook_hosts=edge.settings.webhook_hosts,
    )
    if asked.seconds <= 0:
        submitted = await submit(edge.store.requests, new)
        return submitted, submitted.request
    wait = Wait(asked.seconds)
    # Open before the submit, the watch hears of an end however soon it comes, and the record need not be read again.
    with edge.live.watch(fresh_id) as watch:
        submitted = await submit(edge.store.requests, new)
        if not submitted.repeated:
            return submitted, await wait_on(call, watch, submitted.request, wait)
    return submitted, await read(call, tenant, submitted.request.id, wait)


def told(submitted: Submitted, request: Request, asked: Asked, *, where: str = "/v1/requests") -> list[tuple[str, str]]:
    """The headers of the answer to a submit; `where` its requests are read."""
    headers: list[tuple[str, str]] = []
    if asked.respond_async or asked.wait is not None:
        headers.append(("location", f"{where}/{request.id}"))
    if asked.wait is not None:
        headers.append(("raincheck-request-id", request.id))
    if applied := asked.applied(request):
        headers.append(("preference-applied", applied))
    if submitted.repeated:
        headers.append(("idempotency-replayed", "true"))
    return headers
