"""Takes what a caller wants done (a Submission), hands on a NewRequest that is fit for the record; pure."""

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256

import msgspec

from raincheck.core.addresses import webhook_problem
from raincheck.core.clock import DAY, MINUTE
from raincheck.core.errors import BadInput, WebhookRefused
from raincheck.core.events import MOMENTS
from raincheck.core.model import Attachment, NewRequest, Priority, Tenant
from raincheck.core.operations import operation_of, queue_of

REPEAT_WINDOW = 15 * MINUTE
"""How long a client's own retry is recognised by its content, when it sends no idempotency key."""
FARTHEST = 365 * DAY
MAX_METADATA = 16

BYTES_PER_TOKEN = 4
"""OpenAI's rule of thumb for English text is four characters; JSON's own marks make up for what other text needs."""
UNSAID_ANSWER = 256
"""Tokens of a text whose length nobody bounded."""
IMAGE_TOKENS = 1_000
"""What a picture or a sound inside the body counts for, instead of its many bytes."""
MOST_TOKENS = 1_000_000_000
_TEXTS = frozenset({"chat.completion", "completion", "response"})
"""Operations whose answer is a text of tokens."""
_EMBEDDED = b";base64,"
_BARE = re.compile(rb'"data"\s*:\s*"(?=[A-Za-z0-9+/\\]{4000})')
"""Base64 that says nothing of itself, as `input_audio` has it; one that counts for less than IMAGE_TOKENS stays."""

_AUTO = "auto"
"""What OpenAI calls the default tier when it is asked for by name."""
PRIORITIES = {priority.name.lower(): priority for priority in Priority} | {_AUTO: Priority.DEFAULT}
"""The values of `service_tier`."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What may be asked of any deferred request; times are microseconds since the epoch."""

    webhook_url: str | None = None
    webhook_events: tuple[str, ...] = ()
    """Of which moments that address is told; none named: of each end."""
    include_result: bool = False
    """Whether what it is told carries the result."""
    not_before: int | None = None
    deadline: int | None = None
    expires_in: int | None = None
    """A deadline as a time from now, in microseconds."""
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    max_attempts: int | None = None


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """A call to be made later, as an edge understood it."""

    path: str
    """Below the upstream's base URL: `/chat/completions`."""
    model: str
    payload: bytes
    attachments: tuple[Attachment, ...] = ()
    """Its inputs, which the payload names."""
    answer_tokens: int | None = None
    """How long an answer may become at most; None when it does not say."""
    choices: int = 1
    """How many answers are asked for."""
    service_tier: str | None = None
    options: Options = Options()
    idempotency_key: str | None = None
    client_retry: int | None = None
    """Which retry of its own the client says this is (0: the first try); None when it does not say."""
    repeat_within: int = REPEAT_WINDOW
    """How long such a retry is recognised, in microseconds."""


def admit(
    submission: Submission,
    tenant: Tenant,
    *,
    new_id: str,
    max_attempts: int,
    now: int,
    webhook_hosts: Sequence[str] = (),
) -> NewRequest:
    """The record to submit for a tenant. Raises BadInput, naming what is wrong; the model is the caller's to check.

    `webhook_hosts` are those that webhooks may go to although nobody else could reach them (`webhooks.allow`).
    """
    options = submission.options
    deadline = _deadline(options, now)
    _check_start(options.not_before, deadline, now)
    if options.max_attempts is not None and not 1 <= options.max_attempts <= 100:
        raise BadInput("max_attempts must be between 1 and 100.", param="max_attempts")
    operation = operation_of(submission.path)
    key = submission.idempotency_key
    repeatable = key is None and submission.client_retry is not None
    return NewRequest(
        id=new_id,
        tenant=tenant.name,
        queue=queue_of(submission.model, operation),
        operation=operation,
        path=submission.path,
        model=submission.model,
        payload=submission.payload,
        created_at=now,
        priority=_priority(submission.service_tier),
        weight=tenant.weight,
        not_before=options.not_before if options.not_before is None or options.not_before > now else None,
        deadline=deadline,
        max_attempts=options.max_attempts or max_attempts,
        metadata=fit_metadata(options.metadata),
        webhook_url=fit_webhook_url(options.webhook_url, webhook_hosts),
        webhook_events=fit_webhook_events(options.webhook_events),
        webhook_result=options.include_result,
        tokens=_tokens(submission, operation),
        max_pending=tenant.max_pending,
        attachments=submission.attachments,
        idempotency_key=fit_key(key),
        fingerprint=_fingerprint(submission) if key is not None or repeatable else None,
        # With a key the key alone decides; content would join requests whose callers told them apart.
        repeat_until=now + submission.repeat_within if repeatable else None,
        is_retry=repeatable and bool(submission.client_retry),
    )


def check_model(model: str) -> None:
    """Raise BadInput for a model name no upstream could have."""
    if not model or len(model) > 256:
        raise BadInput("`model` must have between 1 and 256 characters.", param="model")
    if not model.isprintable():
        raise BadInput("`model` must not contain control characters.", param="model")


def _tokens(submission: Submission, operation: str) -> int:
    """How many tokens it will use, prompt and answers, before anybody has counted: a limit per minute needs to know.

    Four bytes of the body are a token; what is embedded in it counts as one picture. An answer is taken to be as long
    as it may be; what it used in truth is put right when it is there.
    """
    embedded = _embedded(submission.payload)
    prompt = (len(submission.payload) - sum(embedded)) // BYTES_PER_TOKEN + len(embedded) * IMAGE_TOKENS
    answer = submission.answer_tokens
    if answer is None:
        answer = UNSAID_ANSWER if operation in _TEXTS else 0
    return min(prompt + answer * submission.choices, MOST_TOKENS)


def _embedded(payload: bytes) -> list[int]:
    """The bytes of each picture and sound inside a body."""
    sizes = list[int]()
    if _EMBEDDED in payload:
        sizes += [max(0, part.find(b'"')) for part in payload.split(_EMBEDDED)[1:]]
    if b'"data"' in payload:
        sizes += [payload.find(b'"', bare.end()) - bare.end() for bare in _BARE.finditer(payload)]
    return sizes


def _priority(service_tier: str | None) -> Priority:
    if service_tier is None:
        return Priority.DEFAULT
    if (priority := PRIORITIES.get(service_tier)) is None:
        raise BadInput(f"service_tier must be one of {', '.join(PRIORITIES)}.", param="service_tier")
    return priority


def _deadline(options: Options, now: int) -> int | None:
    if options.expires_in is not None:
        if options.deadline is not None:
            raise BadInput("Give either `deadline` or `expires_in`, not both.", param="expires_in")
        if options.expires_in <= 0:
            raise BadInput("expires_in must be more than 0 seconds.", param="expires_in")
        deadline, param = now + options.expires_in, "expires_in"
    elif options.deadline is not None:
        deadline, param = options.deadline, "deadline"
        if deadline <= now:
            raise BadInput("The deadline is in the past; give a later one, or none.", param=param)
    else:
        return None
    if deadline > now + FARTHEST:
        raise BadInput(f"{param} may lie at most 365 days ahead.", param=param)
    return deadline


def _check_start(not_before: int | None, deadline: int | None, now: int) -> None:
    if not_before is None:
        return
    if not_before > now + FARTHEST:
        raise BadInput("not_before may lie at most 365 days ahead.", param="not_before")
    if deadline is not None and not_before >= deadline:
        raise BadInput("not_before must be earlier than the deadline.", param="not_before")


NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""What no store can keep as text: NUL, and halves of surrogate pairs. (All else here must be printable anyway.)"""


def fit_metadata(metadata: Mapping[str, str]) -> Mapping[str, str]:
    """The same, when it can be kept. Raises BadInput."""
    if len(metadata) > MAX_METADATA:
        raise BadInput(f"metadata may have at most {MAX_METADATA} entries, this has {len(metadata)}.", param="metadata")
    for key, value in metadata.items():
        if not 1 <= len(key) <= 64 or len(value) > 512:
            raise BadInput(
                "metadata keys have 1 to 64 characters and values up to 512; shorten them.", param="metadata"
            )
        if NO_TEXT.search(key) or NO_TEXT.search(value):
            raise BadInput("metadata must not contain NUL characters or halves of characters.", param="metadata")
    return metadata


def fit_webhook_url(url: str | None, allowed: Sequence[str], *, param: str = "webhook_url") -> str | None:
    """The same, when webhooks may go there as far as it tells itself. Raises WebhookRefused."""
    problem = None if url is None else webhook_problem(url, allowed)
    if problem is not None:
        raise WebhookRefused(problem, param=param)
    return url


def fit_webhook_events(events: Sequence[str], known: Sequence[str] = MOMENTS) -> tuple[str, ...]:
    """The same, each once. Raises BadInput for what is not `known`."""
    for event in events:
        if event not in known:
            raise BadInput(
                f"webhook_events knows {', '.join(known)}, not {event[:40]!r}; without it each end is told.",
                param="webhook_events",
            )
    return tuple(dict.fromkeys(events))


def fit_key(key: str | None) -> str | None:
    """The same, when it can be a key. Raises BadInput."""
    if key is not None and not (1 <= len(key) <= 255 and all("!" <= char <= "~" for char in key)):
        raise BadInput("Idempotency-Key must be 1 to 255 visible ASCII characters.", param="Idempotency-Key")
    return key


def _fingerprint(submission: Submission) -> bytes:
    """What makes two submissions the same, whoever sends them and whenever.

    A file that is sent again is kept under another name: its bytes are what counts.
    """
    options = msgspec.json.encode((submission.service_tier, submission.options), order="deterministic")
    parts = [submission.path.encode(), options, submission.payload]
    if submission.attachments:
        parts.append(msgspec.json.encode([(each.name, each.digest) for each in submission.attachments]))
    if submission.repeat_within != REPEAT_WINDOW:
        # Calls that are repeated in other ways are not each other's repetitions.
        parts.append(str(submission.repeat_within).encode())
    return sha256(b"\0".join(parts)).digest()
