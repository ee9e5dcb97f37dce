"""What PostgreSQL's text can hold."""

from collections.abc import Mapping

from raincheck.core.errors import BadInput
from raincheck.core.model import NewRequest


def holds(*texts: str | None) -> bool:
    """Whether PostgreSQL's text can hold all of these: it has no NUL, and no half of a surrogate pair."""
    together = "".join([text for text in texts if text is not None])
    if "\0" in together:
        return False
    if together.isascii():
        return True
    try:
        together.encode()
    except UnicodeEncodeError:
        return False
    return True


def clean(text: str) -> str:
    """What an upstream said, as PostgreSQL's text can hold it: without NUL and halves of characters."""
    return text.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def cleaned(said: str | None) -> str | None:
    """The same of what may not have been said."""
    return None if said is None else clean(said)


def tellable(metadata: Mapping[str, str]) -> bool:
    """Metadata may hold a NUL: it is kept as JSON, in which that is spelled out."""
    return holds(*(text.replace("\0", "") for pair in metadata.items() for text in pair))


def writable(new: NewRequest) -> bool:
    return holds(
        new.id,
        new.tenant,
        new.queue,
        new.operation,
        new.path,
        new.model,
        new.webhook_url,
        *new.webhook_events,
        new.idempotency_key,
        *(text for each in new.attachments for text in (each.name, each.blob, each.content_type)),
    ) and tellable(new.metadata)


def unwritable() -> BadInput:
    return BadInput("The request has a NUL or half a surrogate pair where neither can be kept; remove it.")
