"""Batches as the server shows them, and what became of their lines."""

from collections.abc import Mapping
from typing import Any, Literal, cast

import msgspec
from openai import BaseModel
from openai.types import Batch as OpenAIBatch
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from raincheck.client.errors import UnexpectedAnswer
from raincheck.client.models import RequestError

ENDED = frozenset({"completed", "failed", "cancelled", "expired"})


class BatchCounts(BaseModel):
    """How many lines a batch has, and what became of those that have ended."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0

    @property
    def ended(self) -> int:
        return self.completed + self.failed + self.cancelled + self.expired


class BatchExtras(BaseModel):
    """What Raincheck tells of a batch beyond OpenAI."""

    fed: int | None = None
    """Lines that are requests by now."""
    pending: int | None = None
    """Lines that have not ended."""
    priority: str | int | None = None
    cost_in_usd_ticks: int | None = None
    """In 1e-10 USD, as far as upstreams told."""


class Batch(OpenAIBatch):
    """openai's `Batch`, with a count for every end that a line can come to."""

    request_counts: BatchCounts | None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    raincheck: BatchExtras | None = None

    @property
    def counts(self) -> BatchCounts:
        return self.request_counts or BatchCounts()

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    def __str__(self) -> str:
        return f"{self.id} {describe(self)}"


def shown(record: Mapping[str, Any]) -> Batch:
    """The batch in an answer. Raises UnexpectedAnswer for one that is told of as xAI does."""
    if (named := record.get("batch_id")) is not None:
        raise UnexpectedAnswer(
            f"{named} is a batch in xAI's manner, which is listened to otherwise: "
            f'OpenBatch(client, NamedBatch(batch_id="{named}")), or `raincheck batch results {named} --follow`.'
        )
    return Batch.construct(**record)


def describe(batch: Batch) -> str:
    """A batch's state in a few words: `in_progress, 40 of 100 done, 2 failed`."""
    counts, words = batch.counts, [str(batch.status)]
    if counts.total:
        words.append(f"{counts.ended:,} of {counts.total:,} done")
    for name in ("failed", "cancelled", "expired"):
        if number := getattr(counts, name):
            words.append(f"{number:,} {name}")
    return ", ".join(words)


class BatchResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one line of a batch."""

    custom_id: str
    id: str | None = None
    line: int | None = None
    """Its line in the input, counted from 1."""
    ended: int | None = None
    """Its place among the ends of its batch; None of one that never began."""
    status_code: int | None = None
    """With which the upstream answered; None of a line that was not answered."""
    request_id: str | None = None
    body: Any = None
    """The answer as it came: a completion, or what the upstream said of an error."""
    error: RequestError | None = None
    """Why there is no answer; None of a line that completed."""

    @property
    def completed(self) -> bool:
        return self.error is None

    @property
    def response(self) -> Any:
        """The answer in openai's types (`ChatCompletion`, …); the JSON itself where it is of none, and None when the
        line did not complete."""
        if self.error is not None:
            return None
        kind = _members(self.body).get("object")
        shape = _TYPES.get(kind) if isinstance(kind, str) else None
        return self.body if shape is None else shape.construct(**self.body)

    @property
    def text(self) -> str | None:
        """The text of the (first) answer, where it is one."""
        if self.error is not None:
            return None
        body = _members(self.body)
        if isinstance(body.get("output"), list):
            return Response.construct(**body).output_text
        choices = body.get("choices")
        first = _members(cast("list[object]", choices)[0]) if isinstance(choices, list) and choices else {}
        text = first.get("text", _members(first.get("message")).get("content"))
        return text if isinstance(text, str) else None

    def to_dict(self) -> dict[str, Any]:
        """As a line of an output or error file has it."""
        answered = self.status_code is not None
        response = {"status_code": self.status_code, "request_id": self.request_id, "body": self.body}
        error = None if self.error is None else {"code": self.error.code, "message": self.error.message}
        return {
            "id": self.id,
            "custom_id": self.custom_id,
            "response": response if answered else None,
            "error": None if answered else error,
        }


class ModelEstimate(BaseModel):
    """How long one model would need."""

    model: str
    requests: int = 0
    tokens: int = 0
    waiting: int = 0
    """Requests that are ahead in its queue."""
    seconds: float | None = None
    basis: Literal["measured", "limits", "unknown"] = "unknown"
    """Where the seconds come from."""


class Estimate(BaseModel):
    """What a batch would ask for, and roughly how long it would take."""

    requests: int = 0
    input_tokens: int = 0
    """Guessed from the length of the text."""
    seconds: float | None = None
    """None where nothing was measured yet and no limit says more."""
    models: list[ModelEstimate] = []  # noqa: RUF012 - pydantic makes a copy for each


_TYPES: dict[str, type[BaseModel]] = {
    "chat.completion": ChatCompletion,
    "text_completion": Completion,
    "response": Response,
    "list": CreateEmbeddingResponse,
}


def _members(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
