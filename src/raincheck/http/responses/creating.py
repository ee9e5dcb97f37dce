"""POST /v1/responses: in the background, deferred natively, or passed through to the upstream, as the call asks."""

from collections.abc import Mapping
from dataclasses import replace

import msgspec
from litestar import post as post_route
from litestar.types import ASGIApp
from msgspec import Raw, structs

from raincheck.core.errors import NoObjectStore, NotFound, NotJson
from raincheck.core.ids import new_id
from raincheck.core.model import Request, Submitted, Tenant
from raincheck.http.auth import caller
from raincheck.http.codec import is_json
from raincheck.http.edge import Call, edge_of
from raincheck.http.posting import Asked, asked_of, post, posted, read_body, record, told
from raincheck.http.responses import docs
from raincheck.http.responses.repeating import repeated
from raincheck.http.responses.showing import written
from raincheck.http.responses.streaming import ResponseStream
from raincheck.http.waiting import Wait, preferences, read
from raincheck.intake.admit import Submission
from raincheck.intake.bodies import read_object
from raincheck.intake.gate import check_size
from raincheck.intake.options import client_retry, deferred_options, idempotency_key
from raincheck.intake.responses import (
    OPERATION,
    PATH,
    Members,
    background_submission,
    continued,
    goes_on,
    in_background,
    streams,
)

WHERE = "/v1/responses"
TAGS = ["Responses"]
NOTHING_ASKED = Asked(respond_async=False, whole=False)


@post_route("/v1/responses", operation_class=docs.CREATE, status_code=200, tags=TAGS)
async def create_response(request: Call) -> ASGIApp:
    tenant = await caller(request, "write")
    body = await read_body(request.receive)
    check_size(tenant, len(body))
    headers = dict(request.scope["headers"])
    if not is_json(headers.get(b"content-type")):
        raise NotJson
    said = read_object(body)
    if goes_on(said):
        await caller(request, "read")  # The answer may tell all that was said before.
    if in_background(said):
        return await _in_background(request, tenant, said, headers)
    return await posted(request, tenant, PATH, await _spelled_out(request, tenant, said, body))


@post_route(
    ["/v1/responses/input_tokens", "/v1/responses/compact"],
    operation_class=docs.BESIDE,
    status_code=200,
    tags=TAGS,
)
async def pass_beside(request: Call) -> ASGIApp:
    return await post(request, request.scope["path"].removeprefix("/v1"))


async def _in_background(call: Call, tenant: Tenant, said: dict[str, Raw], headers: Mapping[bytes, bytes]) -> ASGIApp:
    edge = edge_of(call)
    stream = streams(said)
    if stream:
        await caller(call, "read")  # Its events are the answer.
        if edge.objects is None:
            raise NoObjectStore(
                "The events of a response are kept as a file, and this server has nowhere to keep files."
            )
    asked = await asked_of(call, preferences(call), headers)
    if stream:
        asked = replace(asked, wait=None, seconds=0)
    submitted, request = await _record(call, tenant, said, headers, asked)
    if stream:
        # Whoever is cut off before the first event knows what to ask for all the same.
        told_early = [("raincheck-request-id", request.id), *told(submitted, request, NOTHING_ASKED)]
        return ResponseStream(call, tenant.name, request.id, headers=told_early)
    status = 202 if asked.later(request) else 200
    return await written(call, request, told(submitted, request, asked, where=WHERE), status=status)


async def _record(
    call: Call, tenant: Tenant, said: dict[str, Raw], headers: Mapping[bytes, bytes], asked: Asked
) -> tuple[Submitted, Request]:
    edge = edge_of(call)
    try:
        members = await continued(said, tenant.name, edge.desk, at_most=edge.settings.max_body_bytes)
    except NotFound:
        if (before := await repeated(call, tenant, _submission(said, said, headers))) is None:
            raise
        return Submitted(before, repeated=True), await read(call, tenant, before.id, Wait(asked.seconds))
    submission = _submission(members, said, headers)
    edge.catalogue.require(submission.model, OPERATION)
    return await record(call, tenant, submission, new_id("resp"), asked)


def _submission(members: Members, said: dict[str, Raw], headers: Mapping[bytes, bytes]) -> Submission:
    return structs.replace(
        background_submission(members, said, deferred_options(said, headers)),
        idempotency_key=idempotency_key(headers),
        client_retry=client_retry(headers),
    )


async def _spelled_out(call: Call, tenant: Tenant, said: dict[str, Raw], body: bytes) -> bytes:
    """The body of a call that is not in the background. It may go on from a response of ours; an id that is not ours
    is the upstream's to know."""
    edge = edge_of(call)
    try:
        members = await continued(said, tenant.name, edge.desk, at_most=edge.settings.max_body_bytes)
    except NotFound:
        return body
    return body if members is said else msgspec.json.encode(members)


HANDLERS = (create_response, pass_beside)
