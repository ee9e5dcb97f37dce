"""Takes the id of a batch, hands on whose words are used for it; and ids for new ones."""

from raincheck.core.batches import BatchDialect
from raincheck.core.ids import is_uuid, new_id, new_uuid


def dialect_of(batch_id: str) -> BatchDialect:
    """The dialect that an id is of."""
    return BatchDialect.XAI if is_uuid(batch_id) else BatchDialect.OPENAI


def fresh_id(dialect: BatchDialect) -> str:
    return new_uuid() if dialect is BatchDialect.XAI else new_id("batch")
