"""The batches of a tenant, in both dialects at once."""

from collections.abc import Mapping
from typing import Any, cast

from openai import OpenAI

from raincheck.client.batches.adding import NamedBatch
from raincheck.client.batches.models import Batch


def newest(client: OpenAI, limit: int) -> list[Batch | NamedBatch]:
    """The newest of each dialect: OpenAI's first. A server tells each in an array of its own."""
    options: Any = {"params": {"limit": limit}}
    answer = cast("Mapping[str, Any]", client.get("/batches", cast_to=cast("Any", dict), options=options))
    batches: list[Batch | NamedBatch] = [Batch.construct(**each) for each in answer.get("data") or ()]
    batches += [NamedBatch.construct(**each) for each in answer.get("batches") or ()]
    return batches[:limit]
