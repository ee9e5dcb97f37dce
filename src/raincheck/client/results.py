"""From an ended request to what its caller wanted: the result in openai's types, or the error that fits."""

from typing import Any, TypeVar, cast

from openai import BaseModel
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from raincheck.client.dialect import request_path
from raincheck.client.errors import RequestCancelled, RequestExpired, RequestFailed, UnexpectedResult
from raincheck.client.models import Request
from raincheck.client.steps import Call, Flow, Reply, send

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
    and those that are no JSON objects (these come as `bytes`). Raises `RequestFailed`, `RequestCancelled`,
    `RequestExpired`, or `UnexpectedResult` when a type is wanted and the result is no JSON object."""
    match request.status:
        case "failed":
            raise RequestFailed(request)
        case "cancelled":
            raise RequestCancelled(request)
        case "expired":
            raise RequestExpired(request)
        case _:
            pass
    wanted: Any = cast_to or _TYPES.get(request.operation or "")
    body: object = request.result  # The record is not checked against its types: it may be any JSON.
    if body is None:
        reply = yield from _fetch(request)
        body = reply.json()
        body = reply.body if body is None else body
    if isinstance(wanted, type) and issubclass(wanted, BaseModel | dict):
        if not isinstance(body, dict):
            raise UnexpectedResult(request, body)
        if issubclass(wanted, BaseModel):
            return cast("T", wanted.construct(**body))
    return cast("T", body)


def whole(request: Request) -> Flow[Request]:
    """The record with its result in it, if that is a JSON object: one too large for the record is fetched. Raises
    openai's error."""
    if request.result is None and request.result_url is not None:
        request.result = (yield from _fetch(request)).json()
    return request


def _fetch(request: Request) -> Flow[Reply]:
    """From the server and not by `result_url`: that may be a place that our key must not be sent to."""
    reply = yield from send(Call("GET", request_path(request.id, "/result"), timeout=600.0))
    if reply.error is not None:
        raise reply.error
    return reply
