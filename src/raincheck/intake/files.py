"""Takes a body that has just been uploaded and what its sender says of it, hands on the record of a file."""

import re

from raincheck.core.batches import BATCH_KEPT
from raincheck.core.clock import DAY, SECOND
from raincheck.core.errors import BadInput
from raincheck.core.ids import new_file_id
from raincheck.core.model import File
from raincheck.intake.batches.creating import PURPOSE as BATCH_INPUT
from raincheck.intake.uploads import Kept
from raincheck.store.blobs import UNTYPED

DEFAULT_PURPOSE = "user_data"
FARTHEST = 365 * DAY
LONGEST_NAME = 255
_PURPOSE = re.compile(r"[a-z0-9_.-]{1,64}")
_TYPE = re.compile(r"[\w.+-]{1,64}/[\w.+-]{1,128}(; ?[\w.-]{1,32}=[\w.-]{1,64}){0,2}", re.ASCII)


def new_file(
    kept: Kept,
    *,
    tenant: str,
    filename: str | None,
    purpose: str | None = None,
    content_type: str | None = None,
    expires_in: int | None = None,
    now: int,
) -> File:
    """The record; `expires_in` is in seconds, and what is a batch's input expires anyhow. Raises BadInput."""
    purpose = DEFAULT_PURPOSE if purpose is None else purpose
    if not _PURPOSE.fullmatch(purpose):
        raise BadInput("purpose must be a word of at most 64 small letters, digits, `_`, `-`.", param="purpose")
    return File(
        id=new_file_id(),
        tenant=tenant,
        filename=_fit_name(filename),
        purpose=purpose,
        content_type=fit_type(content_type),
        size=kept.size,
        digest=kept.digest,
        blob=kept.blob,
        created_at=now,
        expires_at=_expiry(expires_in, now, unsaid=BATCH_KEPT if purpose == BATCH_INPUT else None),
    )


def fit_type(given: str | None) -> str:
    """What its sender says it is, as far as that can be a content type."""
    return given if given is not None and _TYPE.fullmatch(given) else UNTYPED


def lasts_wrong(param: str) -> BadInput:
    return BadInput(f"{param} must be a whole number of seconds, at most 365 days.", param=param)


def _expiry(seconds: int | None, now: int, *, unsaid: int | None) -> int | None:
    if seconds is None:
        return None if unsaid is None else now + unsaid
    if not 0 < seconds * SECOND <= FARTHEST:
        raise lasts_wrong("expires_after[seconds]")
    return now + seconds * SECOND


def _fit_name(given: str | None) -> str:
    """A name without folders and without what no terminal should print."""
    last = re.split(r"[/\\]", given or "")[-1]
    return "".join(char for char in last if char.isprintable())[:LONGEST_NAME] or "file"
