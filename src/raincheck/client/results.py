"""From an ended request to what its caller wanted: the result in openai's types, or the error that fits."""

from typing import Any, TypeVar, cast

from openai import BaseModel
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from raincheck.client.dialect import request_path
from raincheck.client.errors import RequestCancelled, RequestExpired, RequestFailed
from raincheck.client.models import Request
from raincheck.client.steps import Call, Flow, send

T = TypeVar("T")

_TYPES: dict[str, type[BaseModel]] = {
    "chat.completion": ChatCompletion,
    "completion": Completion,
    "embedding": CreateEmbeddingResponse,
    "response": Response,
}


def collect(request: Request, cast_to: type[T] | None) -> Flow[T]:
    """The result of an ended request as `cast_to`, an openai model or `dict`; None picks the type by the operation, a
    plain dict when there is none. Asks the server once more for a result that the record did not carry: large ones,
    and those that are no JSON objects (these come as `bytes`). Raises `RequestFailed`, `RequestCancelled` or
    `RequestExpired`."""
    match request.status:
        case "failed":
            raise RequestFailed(request)
        case "cancelled":
            raise RequestCancelled(request)
        case "expired":
            raise RequestExpired(request)
        case _:
            pass
    body = request.result
    if body is None:
        reply = yield from send(Call("GET", request_path(request.id, "/result"), timeout=600.0))
        if reply.error is not None:
            raise reply.error
        body = reply.json()
        if body is None:
            return cast("T", reply.body)
    return typed(body, cast_to or _TYPES.get(request.operation or ""))


def typed(body: dict[str, Any], cast_to: Any) -> Any:
    if isinstance(cast_to, type) and issubclass(cast_to, BaseModel):
        return cast_to.construct(**body)
    return body
