"""Takes the body of a call that adds requests to a batch, hands on the lines that they make (Added), all of them good.

They are kept in the form of OpenAI's batch files: whoever feeds a batch need not know how its lines came.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from raincheck.core.batches import MOST_ADDED, Batch, Body, NewPart
from raincheck.core.errors import BadInput, DuplicateLine
from raincheck.core.ids import new_uuid
from raincheck.intake.admit import fit_key
from raincheck.intake.batches.line import LineRefused, Lines, write_line
from raincheck.intake.batches.xai import convert
from raincheck.intake.bodies import TEXT, member, read_object
from raincheck.intake.uploads import Inbox
from raincheck.store.protocol import Batches

INLINE = 1 << 20
"""Bytes of lines that stand in the record; what is larger goes into the object store, when there is one."""
LARGE = 1 << 17
"""Bytes of a body that is understood beside the event loop."""
NAME = "batch_requests"
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw] | None)


@dataclass(frozen=True, slots=True)
class Added:
    """What a call adds."""

    text: bytes
    """Lines, each with its break."""
    names: tuple[str, ...]
    queues: Mapping[str, int]


def check_count(requests: int) -> None:
    """Raise BadInput when one call cannot add so many."""
    if not requests:
        raise BadInput(f"`{NAME}` is missing or empty; send a list with at least one request.", param=NAME)
    if requests > MOST_ADDED:
        raise BadInput(
            f"`{NAME}` has {requests} requests, {MOST_ADDED} may be added by one call; send the others with further "
            "calls.",
            param=NAME,
        )


async def understand(body: bytes, lines: Lines) -> Added:
    """The lines in the body of a call, each checked by `lines`. Raises BadInput, which names the first that is wrong,
    ModelUnknown, DuplicateLine."""
    # A large body takes long: nobody else shall wait for it.
    return await asyncio.to_thread(_read, body, lines) if len(body) > LARGE else _read(body, lines)


async def add(
    added: Added,
    tenant: str,
    batch_id: str,
    idempotency_key: str | None = None,
    *,
    fingerprint: bytes | None = None,
    is_retry: bool = False,
    batches: Batches,
    inbox: Inbox,
) -> Batch:
    """Record what a call adds; its repetitions are known as NewPart says. Raises what the store does, TooLarge,
    StoreUnavailable."""
    part = NewPart(
        body=await _body(added.text, inbox),
        names=added.names,
        queues=added.queues,
        idempotency_key=fit_key(idempotency_key),
        fingerprint=fingerprint,
        is_retry=is_retry,
    )
    try:
        batch = await batches.add(tenant, batch_id, part)
    except BaseException:
        await _let_go(part.body, inbox)
        raise
    # Nothing has come of it when it was the same again; what is referred to stays.
    if part.idempotency_key is not None or is_retry:
        await _let_go(part.body, inbox)
    return batch


def _read(body: bytes, lines: Lines) -> Added:
    items = member(read_object(body), NAME, _ITEMS)
    check_count(len(items or ()))
    text, names, queues = list[bytes](), dict[str, int](), Counter[str]()
    for number, item in enumerate(items or ()):
        line = _line(item, number)
        try:
            asked = lines.read(line[:-1], number)
        except LineRefused as refused:
            raise _wrong(number, refused.error.message, refused.error.param) from None
        if (before := names.setdefault(asked.custom_id, number)) != number:
            raise DuplicateLine(
                f"{NAME}[{number}] has the id {asked.custom_id!r}, which {NAME}[{before}] has already; give each an id "
                "of its own.",
                param=f"{NAME}[{number}]",
            )
        text.append(line)
        queues[asked.queue] += 1
    return Added(b"".join(text), tuple(names), queues)


def _line(item: msgspec.Raw, number: int) -> bytes:
    """One item, in xAI's form or in OpenAI's, as a line."""
    try:
        members = read_object(bytes(item))
        if "batch_request" in members:
            url, body = convert(members["batch_request"])
            name = member(members, "batch_request_id", TEXT)
        else:
            url, body = member(members, "url", TEXT), members.get("body")
            name = member(members, "custom_id", TEXT)
        if url is None or body is None:
            raise BadInput('each request must be as in {"batch_request": {"chat_get_completion": {…}}}')
        return write_line(name or new_uuid(), url, body)
    except LineRefused as refused:
        raise _wrong(number, refused.error.message, refused.error.param) from None
    except BadInput as error:
        raise _wrong(number, error.message, error.param) from None


def _wrong(number: int, message: str, param: str | None) -> BadInput:
    where = f"{NAME}[{number}]"
    return BadInput(f"{where}: {message}", param=f"{where}.{param}" if param else where)


async def _body(text: bytes, inbox: Inbox) -> Body:
    if len(text) <= INLINE or inbox.objects is None:
        return Body(size=len(text), digest=sha256(text).hexdigest(), text=text)
    kept = await inbox.keep(_pieces(text), content_type="application/jsonl", at_most=len(text))
    return Body(size=kept.size, digest=kept.digest, blob=kept.blob)


async def _pieces(text: bytes) -> AsyncGenerator[bytes]:
    for start in range(0, len(text), INLINE):
        yield text[start : start + INLINE]


async def _let_go(body: Body, inbox: Inbox) -> None:
    if body.blob is not None:
        await inbox.drop(body.blob)
