"""Takes a delivery, hands on the body that its receiver gets: one layout for every event."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
from msgspec import Raw

from raincheck.core.batches import Batch
from raincheck.core.clock import SECOND
from raincheck.core.errors import NotFound, ResultGone
from raincheck.core.events import ENDPOINT_DISABLED, PROCESSING, PROGRESS
from raincheck.core.model import Request, Result
from raincheck.core.outcome import RequestError, why_ended
from raincheck.core.webhooks import Delivery
from raincheck.store.protocol import Batches, Requests

Data = dict[str, object]
_encode = msgspec.json.Encoder().encode
_UNDER_WAY = frozenset({PROCESSING, PROGRESS})


@dataclass(frozen=True, slots=True)
class Messages:
    """Writes messages from the records as they stand."""

    requests: Requests
    batches: Batches
    max_result: int
    """The largest result, in bytes, that goes along."""

    async def body(self, delivery: Delivery) -> bytes:
        """The message about what this delivery is about; of a record that is gone it tells no more than the event's
        name does. Raises StoreUnavailable."""
        data: Data = {"id": delivery.object_id}
        if delivery.type != ENDPOINT_DISABLED:
            data["status"] = status_of(delivery.type)
            try:
                data |= await self._record(delivery)
            except NotFound:
                data |= {"result_omitted": "gone"} if delivery.include_result else {}
        if delivery.detail is not None:
            data |= msgspec.json.decode(delivery.detail, type=dict[str, Raw])
        return event_json(delivery.event_id, delivery.type, delivery.created_at, data)

    async def _record(self, delivery: Delivery) -> Data:
        family, _, moment = delivery.type.rpartition(".")
        # A deferred POST of a path `/batch` has events of the same name.
        if family == "batch" and not delivery.object_id.startswith("req_"):
            return _of_batch(await self.batches.get(delivery.tenant, delivery.object_id))
        request = await self.requests.get(delivery.tenant, delivery.object_id)
        if moment in _UNDER_WAY:
            return _of_request(request)
        ended = _of_request(request) | _of_end(request)
        if not delivery.include_result or moment not in ("completed", "incomplete"):
            return ended
        return ended | await self._result(delivery)

    async def _result(self, delivery: Delivery) -> Data:
        try:
            result = await self.requests.result(delivery.tenant, delivery.object_id)
        except (ResultGone, NotFound):
            return {"result_omitted": "gone"}
        return {"result_omitted": "gone"} if result is None else self._carried(result)

    def _carried(self, result: Result) -> Data:
        if (len(result.body) if result.size is None else result.size) > self.max_result:
            return {"result_omitted": "too_large"}
        if result.blob is not None:
            # Everybody's deliveries share this process's memory: what is kept elsewhere is fetched by who wants it.
            return {"result_omitted": "unavailable"}
        return {"result": Raw(result.body)} if _is_json(result) else {"result_omitted": "not_json"}


def event_json(event_id: str, event_type: str, created_at: int, data: Mapping[str, object]) -> bytes:
    """The layout of every message: an event as OpenAI and as Standard Webhooks have it, in one."""
    when = datetime.fromtimestamp(created_at // 1_000 / 1_000, UTC).isoformat(timespec="milliseconds")
    return _encode(
        {
            "object": "event",
            "id": event_id,
            "type": event_type,
            "created_at": created_at // SECOND,
            "timestamp": when.removesuffix("+00:00") + "Z",
            "data": data,
        }
    )


def status_of(event_type: str) -> str:
    """What an event says of the status, in the words of the API that its name is from.

    Told by the name and not by the record, which may have moved on since.
    """
    family, _, moment = event_type.rpartition(".")
    if moment not in _UNDER_WAY:
        return moment
    return "in_progress" if family in ("response", "video") else "processing"


def _of_request(request: Request) -> Data:
    data: Data = {"operation": request.operation, "model": request.model}
    if request.metadata:
        data["metadata"] = request.metadata
    return data


def _of_end(request: Request) -> Data:
    data: Data = {}
    if (error := why_ended(request.status, request.error)) is not None:
        data["error"] = _of_error(error)
    if request.usage is not None:
        data["usage"] = Raw(request.usage)
    return data


def _of_error(error: RequestError) -> Data:
    """The inside of OpenAI's error envelope; what the upstream said at length is in the record."""
    return {"message": error.message, "type": error.type, "param": error.param, "code": error.code}


def _of_batch(batch: Batch) -> Data:
    counts = batch.counts
    data: Data = {
        "request_counts": {
            "total": counts.total,
            "completed": counts.completed,
            "failed": counts.failed,
            "cancelled": counts.cancelled,
            "expired": counts.expired,
        },
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
    }
    if batch.metadata:
        data["metadata"] = batch.metadata
    return data


def _is_json(result: Result) -> bool:
    """Whether it can stand in a message: one that lied about its type would make all of the message unreadable."""
    kind = result.content_type.partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        return False
    try:
        msgspec.json.decode(result.body)
    except (ValueError, RecursionError):
        return False
    return True
