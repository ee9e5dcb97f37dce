"""Takes a call that makes a batch, in either dialect, hands on the batch once it is recorded."""

from collections.abc import Mapping

import msgspec

from raincheck.core.batches import BatchDialect, CreatedBatch
from raincheck.core.errors import BadInput, NotJson, Stopping
from raincheck.core.model import Tenant
from raincheck.http.auth import caller
from raincheck.http.batches.reading import validated
from raincheck.http.codec import is_json, wrong_type
from raincheck.http.edge import Call, edge_of
from raincheck.http.posting import read_body
from raincheck.intake.batches.creating import DEFAULT_WINDOW, Plan, Repetition, check_options, create
from raincheck.intake.batches.ids import fresh_id
from raincheck.intake.bodies import read_object
from raincheck.intake.gate import check_size
from raincheck.intake.options import client_retry, idempotency_key, read_options

NOTHING = msgspec.Raw(b"null")


class ExpiresAfter(msgspec.Struct):
    """How long a batch's files are kept."""

    anchor: str = "created_at"
    seconds: int | None = None


class BatchBody(msgspec.Struct, kw_only=True):
    """What a call for a batch may say, in both dialects. Other members mean nothing here."""

    endpoint: str | None = None
    input_file_id: str | None = None
    completion_window: str | None = None
    metadata: dict[str, str] | None = None
    output_expires_after: ExpiresAfter | None = None
    name: str | None = None
    webhook_url: str | None = None
    webhook_events: list[str] | None = None
    raincheck: msgspec.Raw = NOTHING


_BODY = msgspec.json.Decoder(BatchBody)


async def create_batch(call: Call, dialect: BatchDialect | None) -> CreatedBatch:
    """Record the batch that a call asks for; without a `dialect`, what it says tells whose words it uses."""
    tenant = await caller(call, "write")
    edge = edge_of(call)
    if edge.stopping():
        raise Stopping(retry_after=2)
    headers = dict(call.scope["headers"])
    body = _decoded(await json_body(call, tenant))
    plan = _plan(body, dialect or _dialect(body), headers)
    new_id = fresh_id(plan.dialect)
    # Open before it is recorded, the watch hears of the file's check however soon that is done.
    with edge.live.watch(new_id) as watch:
        created = await create(
            plan,
            tenant.name,
            Repetition(idempotency_key=idempotency_key(headers), client_retry=client_retry(headers)),
            new_id=new_id,
            batches=edge.store.batches,
            files=edge.store.files,
            objects=edge.objects,
            now=edge.clock(),
            webhook_hosts=edge.settings.webhook_hosts,
        )
        if plan.dialect is BatchDialect.XAI and not created.repeated:
            return CreatedBatch(await validated(call, watch, created.batch))
    return created


async def json_body(call: Call, tenant: Tenant) -> bytes:
    """The body, within what the caller may send. Raises NotJson, TooLarge, ClientGone."""
    if not is_json(dict(call.scope["headers"]).get(b"content-type")):
        raise NotJson
    body = await read_body(call.receive)
    check_size(tenant, len(body))
    return body


def told(created: CreatedBatch) -> list[tuple[str, str]]:
    """The headers of the answer."""
    return [("idempotency-replayed", "true")] if created.repeated else []


def _decoded(body: bytes) -> BatchBody:
    read_object(body)
    try:
        return _BODY.decode(body)
    except msgspec.ValidationError as error:
        raise wrong_type(error) from None


def _dialect(body: BatchBody) -> BatchDialect:
    if body.endpoint is None and body.name is not None:
        return BatchDialect.XAI
    return BatchDialect.OPENAI


def _plan(body: BatchBody, dialect: BatchDialect, headers: Mapping[bytes, bytes]) -> Plan:
    if dialect is BatchDialect.OPENAI:
        for name in ("endpoint", "input_file_id"):
            if getattr(body, name) is None:
                raise BadInput(
                    f"`{name}` is missing. A batch is made from a file with `endpoint`, `input_file_id` and "
                    "`completion_window`; or, in xAI's way, with a `name`, and requests are added to it.",
                    param=name,
                )
    options = read_options(body.raincheck, headers)
    check_options(options)
    return Plan(
        dialect=dialect,
        name=body.name,
        endpoint=body.endpoint,
        input_file_id=body.input_file_id,
        completion_window=DEFAULT_WINDOW if body.completion_window is None else body.completion_window,
        metadata=body.metadata or options.metadata,
        webhook_url=body.webhook_url or options.webhook_url,
        webhook_events=options.webhook_events if body.webhook_events is None else tuple(body.webhook_events),
        output_seconds=_seconds(body.output_expires_after),
    )


def _seconds(given: ExpiresAfter | None) -> int | None:
    if given is None:
        return None
    if given.anchor != "created_at":
        raise BadInput("output_expires_after.anchor must be created_at.", param="output_expires_after")
    if given.seconds is None:
        raise BadInput("output_expires_after.seconds is missing.", param="output_expires_after")
    return given.seconds
