"""What can go wrong beyond HTTP. Errors of the exchange itself stay openai's own (NotFoundError, RateLimitError, …).

openai.OpenAIError
└── RaincheckClientError
    ├── NoRequestId         the server took the call and named no request to come back for
    ├── UnexpectedAnswer    the server's answer is none that a Raincheck server gives
    ├── UnexpectedResult    it completed, with a result that is not of the type asked for
    ├── StillRunning        the waiting is over, the work goes on
    │   ├── WaitTimeout     the time ran out (also a TimeoutError)
    │   └── WaitStopped     the stop event was set
    ├── RequestEnded        it ended without a result
    │   ├── RequestFailed
    │   ├── RequestCancelled
    │   └── RequestExpired
    ├── BatchFailed         the lines of a batch were refused
    ├── BatchTimeout        the batch had not ended when the time ran out (also a TimeoutError)
    ├── WebhookTimeout      no such event came in while a listener waited (also a TimeoutError)
    └── ListenerRefused     the server will not send webhooks to a listener

What can be wrong with a webhook itself: see raincheck.webhooks.errors.
"""

from typing import TYPE_CHECKING

from openai import OpenAIError

from raincheck.client.models import Request, RequestError, describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openai.types import BatchError

    from raincheck.client.batches.adding import NamedBatch
    from raincheck.client.batches.models import Batch


class RaincheckClientError(OpenAIError):
    """Everything this client raises of its own accord."""


class NoRequestId(RaincheckClientError):
    """The server's answer to the submit names no request. `.body` is that answer."""

    def __init__(self, body: bytes) -> None:
        shown = body[:200].decode(errors="replace") or "an empty body"
        super().__init__(
            "The server accepted the call but sent no request id, so there is nothing to wait for. "
            f"It answered: {shown}. Is this a server that can defer requests?"
        )
        self.body = body


class UnexpectedAnswer(RaincheckClientError):
    """The server answered something else than a Raincheck server does."""


class UnexpectedResult(RaincheckClientError):
    """The request completed, but its result is no JSON object, and so not of the type asked for. `.request` is the
    record, `.result` what the upstream answered: JSON, or bytes when it is none."""

    def __init__(self, request: Request, result: object) -> None:
        super().__init__(f"Request {request.id} completed with a result that is no JSON object: {str(result)[:200]}")
        self.request = request
        self.request_id = request.id
        self.result = result


class StillRunning(RaincheckClientError):
    """The waiting ended before the request did. `.request`, `.request_id` and `.status` are what was last known,
    `.waited` the seconds spent waiting."""

    def __init__(self, message: str, request: Request, waited: float) -> None:
        super().__init__(message)
        self.request = request
        self.request_id = request.id
        self.status = request.status
        self.waited = waited


class WaitTimeout(StillRunning, TimeoutError):
    """The result was not ready in time. The request goes on at the server, unless `.cancelled` says otherwise.

    `__cause__` is the last connection error, if the server was out of reach at the end.
    """

    def __init__(self, request: Request, waited: float, *, cancelled: bool | None = None) -> None:
        match cancelled:
            case True:
                fate = "It has been cancelled at the server, as cancel_on_timeout asked."
            case False:
                fate = f"Cancelling it at the server did not succeed, so it may go on. {_reattach(request.id)}"
            case None:
                fate = f"The work goes on. {_reattach(request.id)}"
        super().__init__(
            f"Request {request.id} was not ready after {waited:.1f} s ({describe(request)}). {fate}", request, waited
        )
        self.cancelled = cancelled is True


class WaitStopped(StillRunning):
    """The stop event was set while waiting. The request itself goes on at the server."""

    def __init__(self, request: Request, waited: float) -> None:
        message = f"Stopped waiting for {request.id} after {waited:.1f} s. The work goes on. {_reattach(request.id)}"
        super().__init__(message, request, waited)


class RequestEnded(RaincheckClientError):
    """The request ended without a result. `.request` is the whole record, `.error` the reason it gives, with the
    upstream's own status and body in `.error.upstream`."""

    verb = "ended"

    def __init__(self, request: Request) -> None:
        super().__init__(f"Request {request.id} {self.verb}{_reason(request.error)}")
        self.request = request
        self.request_id = request.id

    @property
    def error(self) -> RequestError | None:
        return self.request.error


class RequestFailed(RequestEnded):
    """Every allowed attempt failed, or the upstream refused the request for good."""

    verb = "failed"


class RequestCancelled(RequestEnded):
    """Someone cancelled it."""

    verb = "was cancelled"


class RequestExpired(RequestEnded):
    """Its deadline passed before it was done."""

    verb = "expired"


class BatchFailed(RaincheckClientError):
    """The input of a batch was refused, so that none of its lines was begun. `.batch` is the batch, `.errors` what is
    wrong with which line."""

    def __init__(self, batch: "Batch") -> None:
        self.batch = batch
        self.batch_id = batch.id
        self.errors: list[BatchError] = (batch.errors.data if batch.errors is not None else None) or []
        told = [_on_line(error) for error in self.errors[:3]]
        if (more := len(self.errors) - len(told)) > 0:
            told.append(f"and {more} more")
        super().__init__(f"The input of batch {batch.id} was refused: {'; '.join(told) or 'no reason is told'}")


class BatchTimeout(RaincheckClientError, TimeoutError):
    """The batch had not ended in time; it goes on at the server. `.batch` is what was last seen of it."""

    def __init__(self, batch: "Batch | NamedBatch") -> None:
        super().__init__(
            f"Batch {batch.id} is {batch.status} still. The work goes on. Come back with "
            f'client.batches.wait("{batch.id}") or `raincheck batch run --resume {batch.id}`.'
        )
        self.batch = batch
        self.batch_id = batch.id


class WebhookTimeout(RaincheckClientError, TimeoutError):
    """No such event came in while a listener waited for it."""

    def __init__(self, wanted: str, waited: float, came: "Sequence[str]", rejected: "Sequence[str]") -> None:
        told = f"; what came was {', '.join(came[-5:])}" if came else "; none came at all"
        refused = f". {len(rejected)} could not be verified: {rejected[-1]}" if rejected else ""
        super().__init__(
            f"No {wanted} came within {waited:g} s{told}{refused}. `client.webhooks.deliveries.list()` and `raincheck "
            "webhooks deliveries` tell what the server tried."
        )


class ListenerRefused(RaincheckClientError):
    """The server will not send webhooks to where a listener listens."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"The server will not send webhooks to {url}. Start it with RAINCHECK_WEBHOOKS_ALLOW=127.0.0.1, or the "
            f"address at which it reaches you. It said: {reason}"
        )


def _on_line(error: "BatchError") -> str:
    return f"{'' if error.line is None else f'line {error.line}: '}{error.message}"


def _reattach(request_id: str) -> str:
    return f'Collect the result later with client.requests.wait("{request_id}") or `raincheck wait {request_id}`.'


def _reason(error: RequestError | None) -> str:
    if error is None or not error.message:
        return "."
    if error.upstream is None:
        return f": {error.message}"
    status = f" answered {error.upstream.status}" if error.upstream.status else ""
    said = "" if error.upstream.body is None else f": {str(error.upstream.body)[:500]}"
    return f": {error.message} (upstream {error.upstream.name or 'unnamed'}{status}{said})"
