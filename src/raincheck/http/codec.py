"""Takes the bytes of a call, hands on a Submission. What is passed on to the upstream is cut, never re-written."""

import re
from collections.abc import Mapping

import msgspec

from raincheck.core.errors import BadInput, NotJson
from raincheck.intake.admit import Submission
from raincheck.intake.bodies import YES_NO, member, read_object, submission
from raincheck.intake.options import client_retry, deferred_options, idempotency_key, read_options

_PATH = re.compile(r"(/[A-Za-z0-9_:-][A-Za-z0-9_.:-]*){1,8}")


class Parsed(msgspec.Struct, frozen=True):
    """A POST as it was understood: the submission, and whether it is to be deferred."""

    submission: Submission
    deferred: bool


def parse(path: str, body: bytes, headers: Mapping[bytes, bytes], *, prefers_async: bool) -> Parsed:
    """Read a POST to `path` (below the upstream's base URL). Raises BadInput, NotJson."""
    if len(path) > 200 or not _PATH.fullmatch(path):
        raise BadInput("This path cannot be passed on; /schema lists what there is.")
    if not is_json(headers.get(b"content-type")):
        raise NotJson
    members = read_object(body)
    deferred = bool(member(members, "deferred", YES_NO)) or prefers_async
    understood = submission(path, members, deferred=deferred)
    if member(members, "stream", YES_NO) and deferred:
        raise BadInput(
            "A deferred request cannot be streamed to the client; leave `stream` out and read "
            "GET /v1/requests/{id}/events instead.",
            param="stream",
        )
    options = deferred_options(members, headers) if deferred else read_options(members.get("raincheck"), headers)
    return Parsed(
        msgspec.structs.replace(
            understood,
            options=options,
            idempotency_key=idempotency_key(headers),
            client_retry=client_retry(headers),
        ),
        deferred,
    )


def is_json(content_type: bytes | None) -> bool:
    """True for JSON and for nothing said at all."""
    if not content_type:
        return True
    kind = content_type.partition(b";")[0].strip().lower()
    return kind == b"application/json" or (kind.startswith(b"application/") and kind.endswith(b"+json"))


def wrong_type(error: msgspec.ValidationError) -> BadInput:
    """The sentence msgspec makes, with the member it speaks of as `param`."""
    words, _, where = str(error).partition(" - at `$.")
    name = where.partition("`")[0]
    return BadInput(f"`{name or 'body'}` is wrong: {words}.", param=name.partition(".")[0].partition("[")[0] or None)
