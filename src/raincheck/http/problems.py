"""Takes whatever went wrong, hands on the one HTTP answer for it: the only translation of errors to HTTP."""

import math
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar.exceptions import HTTPException
from litestar.response import Response

from raincheck.core.errors import (
    BadInput,
    NotAllowed,
    NotFound,
    RaincheckError,
    ResultGone,
    WebhookUnreachable,
)
from raincheck.core.model import Request
from raincheck.core.outcome import RequestError, envelope, why_ended
from raincheck.core.status import Status
from raincheck.http.answer import Answer
from raincheck.http.edge import Call, edge_of
from raincheck.http.presence import ClientGone

# How xAI names its errors; its bodies have the name as `code` and a sentence as `error`.
XAI_NAMES = {
    400: "Client specified an invalid argument",
    401: "The request does not have valid authentication credentials for the operation",
    403: "The caller does not have permission to execute the specified operation",
    404: "Some requested entity was not found",
    409: "The operation was aborted",
    413: "Client specified an invalid argument",
    415: "Client specified an invalid argument",
    410: "Some requested entity was not found",
    429: "Some resource has been exhausted",
    503: "The service is currently unavailable",
}
_STATUS = {Status.CANCELLED: 409, Status.EXPIRED: 410}


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as it is told to the client."""

    status: int
    error: RequestError
    headers: tuple[tuple[str, str], ...] = ()

    def answer(self, path: str) -> Answer:
        """In the dialect of the path: flat below /xai, the OpenAI envelope everywhere else."""
        if path.startswith("/xai/"):
            body = msgspec.json.encode({"code": xai_name(self.status), "error": self.error.message})
        else:
            body = envelope(self.error)
        return Answer(body, self.status, headers=self.headers)


def xai_name(status: int) -> str:
    """What xAI calls an error with this status."""
    return XAI_NAMES.get(status, "Internal error" if status >= 500 else "Invalid request")


def problem_of(error: Exception) -> Problem:
    """What to tell of an error; one that nobody expected is told without details."""
    match error:
        case RaincheckError():
            return _of_ours(error)
        case HTTPException():
            return _of_litestar(error)
        case ClientGone():
            return Problem(499, RequestError("The client hung up."))  # Sent to nobody; proxies know the number.
        case _:
            return _of_ours(RaincheckError())


def problem_of_end(request: Request) -> Problem | None:
    """Why an ended request has no result to hand over; None when it completed and has one.

    None of these is worth asking again, so clients that retry by status are told not to.
    """
    stop = (("x-should-retry", "false"),)
    if request.purged:
        gone = ResultGone()
        return Problem(gone.http, _inside(gone), stop)
    if (error := why_ended(request.status, request.error)) is None:
        return None
    return Problem(_STATUS.get(request.status) or _failed_status(error), error, stop)


def answer_to(call: Call, error: Exception) -> Answer:
    """The answer to an error; one that nobody expected is told to whoever keeps the log."""
    if not isinstance(error, RaincheckError | HTTPException | ClientGone):
        edge_of(call).crashed(error, str(call.scope["state"].get("request_id", "")))
    return problem_of(error).answer(call.scope["path"])


def on_exception(call: Call, error: Exception) -> Response[Any]:
    """Litestar's exception handler for everything."""
    answer = answer_to(call, error)
    headers = {name.decode(): value.decode("latin-1") for name, value in answer.headers if name != b"content-length"}
    return Response(answer.body, status_code=answer.status, headers=headers, media_type="application/json")


def _of_ours(error: RaincheckError) -> Problem:
    headers: list[tuple[str, str]] = []
    if error.retry_after is not None:
        headers.append(("retry-after", str(max(1, math.ceil(error.retry_after)))))
    # Clients take a 409 for a lock that will be free in a moment, and a 502 of another's for one of ours.
    if error.http == 409 or isinstance(error, WebhookUnreachable):
        headers.append(("x-should-retry", "false"))
    if error.http == 401:
        headers.append(("www-authenticate", "Bearer"))
    return Problem(error.http, _inside(error), tuple(headers))


def _of_litestar(error: HTTPException) -> Problem:
    headers = tuple((name, str(value)) for name, value in (error.headers or {}).items())
    match error.status_code:
        case 404:
            ours: RaincheckError = NotFound("There is nothing at this path; /schema lists what there is.")
        case 405:
            ours = NotAllowed()
        case 500:
            ours = RaincheckError()
        case _:
            ours = BadInput(error.detail)
    status = error.status_code if isinstance(ours, BadInput) else ours.http
    return Problem(status, _inside(ours), headers)


def _inside(error: RaincheckError) -> RequestError:
    return RequestError(error.message, error.kind, error.code, error.param)


def _failed_status(error: RequestError) -> int:
    """The upstream's status, unless the client would take it for what this server thinks of the client itself.

    Without one it was found out here: what was asked for could not be done (400), or the upstream broke.
    """
    status = None if error.upstream is None else error.upstream.status
    if status is None and error.type == "invalid_request_error":
        return 400
    if status is None or not 400 <= status <= 599 or status in (401, 403):
        return 502
    return 503 if status == 429 else status
