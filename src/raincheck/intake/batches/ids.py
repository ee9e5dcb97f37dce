"""Takes the id of a batch, hands on whose words are used for it; and ids for new ones."""

import re

from raincheck.core.batches import BatchDialect
from raincheck.core.ids import new_id, new_uuid

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def dialect_of(batch_id: str) -> BatchDialect:
    """The dialect that an id is of."""
    return BatchDialect.XAI if _UUID.fullmatch(batch_id) else BatchDialect.OPENAI


def fresh_id(dialect: BatchDialect) -> str:
    return new_uuid() if dialect is BatchDialect.XAI else new_id("batch")
