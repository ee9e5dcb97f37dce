"""Every error a user can meet, each with its code; the docstring is the default message.

RaincheckError
├── BadInput            400 invalid_request
│   ├── MediaRefused    400 media_refused
│   ├── WebhookRefused  400 webhook_refused
│   └── ModelUnknown    404 model_not_found
├── KeyMissing          401 api_key_missing
├── KeyInvalid          401 api_key_invalid
├── ScopeMissing        403 scope_missing
├── CrossSite           403 cross_site_refused
├── HostRefused         421 host_not_allowed
├── NotFound            404 not_found
├── NotAllowed          405 method_not_allowed
├── BodyTooSlow         408 body_too_slow
├── ResultGone          410 result_gone
├── AttachmentGone      410 attachment_gone
├── AlreadyEnded        409 already_ended
├── NotEnded            409 not_ended
├── NotRequeueable      409 not_requeueable
├── BatchClosed         409 batch_closed
├── DuplicateLine       400 duplicate_custom_id
├── IdempotencyConflict 409 idempotency_conflict
├── PreconditionFailed  412 precondition_failed
├── TooLarge            413 request_too_large
├── NotJson             415 unsupported_media_type
├── RangeUnsatisfiable  416 range_not_satisfiable
├── HeadersTooLarge     431 headers_too_large
├── TooManyEndpoints    409 too_many_endpoints
├── QuotaExceeded       429 too_many_pending
├── TooManyTests        429 too_many_tests
├── UpstreamBusy        429 upstream_busy
├── UpstreamDown        503 upstream_down
├── UpstreamBroke       502 upstream_broke
├── WebhookUnreachable  502 webhook_unreachable
├── NoObjectStore       501 no_object_store
├── Stopping            503 stopping
├── StoreUnavailable    503 store_unavailable
├── SecretSealed        503 secret_sealed
├── FenceLost           -   fence_lost           (never leaves the engine)
├── StoreTaken          -   store_taken          (only at start)
├── SchemaTooNew        -   schema_too_new       (only at start)
├── SettingsInvalid     -   settings_invalid     (only at start)
└── ModelUnavailable    -   model_unavailable    (the embedded model cannot run here)
"""

from typing import ClassVar

from raincheck.core.canonical import Canonical


class RaincheckError(Exception):
    """Something went wrong inside the server; the request id in `x-request-id` finds it in the log."""

    code: ClassVar[str] = "internal_error"
    http: ClassVar[int] = 500
    kind: ClassVar[str] = "server_error"
    grpc: ClassVar[Canonical] = Canonical.INTERNAL
    """How gRPC tells it. UNAVAILABLE only where nothing was accepted: clients send such a call again by themselves."""

    def __init__(self, message: str | None = None, *, param: str | None = None, retry_after: float | None = None):
        super().__init__(message or " ".join((type(self).__doc__ or "").split()))
        self.param = param
        self.retry_after = retry_after
        """Seconds after which trying again makes sense, or None."""

    @property
    def message(self) -> str:
        return str(self)


class BadInput(RaincheckError):
    """The request is not valid."""

    code, http, kind = "invalid_request", 400, "invalid_request_error"
    grpc = Canonical.INVALID_ARGUMENT


class MediaRefused(BadInput):
    """This file or link cannot be used as an input."""

    code = "media_refused"


class WebhookRefused(BadInput):
    """Nothing may be sent to this URL."""

    code = "webhook_refused"


class ModelUnknown(BadInput):
    """No upstream serves this model; GET /v1/models lists those that are served."""

    code, http, kind = "model_not_found", 404, "not_found_error"
    grpc = Canonical.NOT_FOUND


class KeyMissing(RaincheckError):
    """No API key was sent; add the header `Authorization: Bearer rc_…` (make one with `raincheck keys create`)."""

    code, http, kind = "api_key_missing", 401, "authentication_error"
    grpc = Canonical.UNAUTHENTICATED


class KeyInvalid(RaincheckError):
    """This API key is unknown or revoked; make a new one with `raincheck keys create`."""

    code, http, kind = "api_key_invalid", 401, "authentication_error"
    grpc = Canonical.UNAUTHENTICATED


class ScopeMissing(RaincheckError):
    """This API key may not do that; make one with the scope that is needed."""

    code, http, kind = "scope_missing", 403, "permission_error"
    grpc = Canonical.PERMISSION_DENIED


class CrossSite(RaincheckError):
    """A web page of another site may not change anything here; add its origin to `server.cors_origins` to allow it."""

    code, http, kind = "cross_site_refused", 403, "permission_error"


class HostRefused(RaincheckError):
    """The Host header names a host this server does not answer to; add it to `server.allowed_hosts`."""

    code, http, kind = "host_not_allowed", 421, "invalid_request_error"


class NotFound(RaincheckError):
    """Nothing here by that name; check the id and that the API key belongs to the tenant that made it."""

    code, http, kind = "not_found", 404, "not_found_error"
    grpc = Canonical.NOT_FOUND


class NotAllowed(RaincheckError):
    """This path does not take that method; /schema lists what it takes."""

    code, http, kind = "method_not_allowed", 405, "invalid_request_error"
    grpc = Canonical.UNIMPLEMENTED


class BodyTooSlow(RaincheckError):
    """The request body took too long to arrive; nothing was accepted, send it again in one go."""

    code, http, kind = "body_too_slow", 408, "invalid_request_error"
    grpc = Canonical.DEADLINE_EXCEEDED


class ResultGone(RaincheckError):
    """The result was purged when its retention ended; submit the request again to have a new one."""

    code, http, kind = "result_gone", 410, "invalid_request_error"
    grpc = Canonical.NOT_FOUND


class AttachmentGone(RaincheckError):
    """The file is not there any more; upload it again, or make it again."""

    code, http, kind = "attachment_gone", 410, "invalid_request_error"
    grpc = Canonical.NOT_FOUND


class AlreadyEnded(RaincheckError):
    """The request has already ended and an end is final; read it with GET /v1/requests/{id}."""

    code, http, kind = "already_ended", 409, "invalid_request_error"
    grpc = Canonical.FAILED_PRECONDITION


class NotEnded(RaincheckError):
    """The request has not ended yet; cancel it first, or wait for its end."""

    code, http, kind = "not_ended", 409, "invalid_request_error"
    grpc = Canonical.FAILED_PRECONDITION


class NotRequeueable(RaincheckError):
    """Only a failed, cancelled or expired request can be requeued."""

    code, http, kind = "not_requeueable", 409, "invalid_request_error"
    grpc = Canonical.FAILED_PRECONDITION


class BatchClosed(RaincheckError):
    """This batch takes no more requests: it was made from a file, or has ended; create another."""

    code, http, kind = "batch_closed", 409, "invalid_request_error"
    grpc = Canonical.FAILED_PRECONDITION


class DuplicateLine(RaincheckError):
    """The batch has a request of this id already; give each an id of its own."""

    code, http, kind = "duplicate_custom_id", 400, "invalid_request_error"
    grpc = Canonical.ALREADY_EXISTS


class IdempotencyConflict(RaincheckError):
    """This Idempotency-Key was already used with a different request; use a new key for a new request."""

    code, http, kind = "idempotency_conflict", 409, "invalid_request_error"
    grpc = Canonical.ALREADY_EXISTS


class PreconditionFailed(RaincheckError):
    """This is not the body that the If-Match header names; fetch it anew."""

    code, http, kind = "precondition_failed", 412, "invalid_request_error"


class TooLarge(RaincheckError):
    """The request body is larger than this server or API key accepts."""

    code, http, kind = "request_too_large", 413, "invalid_request_error"
    grpc = Canonical.INVALID_ARGUMENT


class NotJson(RaincheckError):
    """The request body must be JSON; send it with the header `Content-Type: application/json`."""

    code, http, kind = "unsupported_media_type", 415, "invalid_request_error"


class RangeUnsatisfiable(RaincheckError):
    """The Range header asks for bytes that this body does not have."""

    code, http, kind = "range_not_satisfiable", 416, "invalid_request_error"


class HeadersTooLarge(RaincheckError):
    """The request's headers are too large; send fewer or shorter ones."""

    code, http, kind = "headers_too_large", 431, "invalid_request_error"


class TooManyEndpoints(RaincheckError):
    """This tenant has as many webhook endpoints as it may; delete one that is not needed any more."""

    code, http, kind = "too_many_endpoints", 409, "invalid_request_error"


class QuotaExceeded(RaincheckError):
    """This tenant has as many pending requests as it may; wait for some to end, or cancel some."""

    code, http, kind = "too_many_pending", 429, "rate_limit_error"
    grpc = Canonical.RESOURCE_EXHAUSTED


class TooManyTests(RaincheckError):
    """As many webhook tests as there may be at once are under way; try again when one of them has its answer."""

    code, http, kind = "too_many_tests", 429, "rate_limit_error"


class UpstreamBusy(RaincheckError):
    """Every place at the upstream is taken; try again, or defer the request so that it waits for you."""

    code, http, kind = "upstream_busy", 429, "rate_limit_error"
    grpc = Canonical.RESOURCE_EXHAUSTED


class UpstreamDown(RaincheckError):
    """No upstream that serves this model can be reached; try again, or defer the request so that it waits for you."""

    code, http, kind = "upstream_down", 503, "server_error"
    grpc = Canonical.UNAVAILABLE


class UpstreamBroke(RaincheckError):
    """The upstream's answer broke off; try again, or defer the request so that it is tried again for you."""

    code, http, kind = "upstream_broke", 502, "server_error"


class WebhookUnreachable(RaincheckError):
    """The webhook endpoint gave no answer."""

    code, http, kind = "webhook_unreachable", 502, "server_error"


class NoObjectStore(RaincheckError):
    """This server has nowhere to keep files; its operator can set `store.blobs`."""

    code, http, kind = "no_object_store", 501, "server_error"
    grpc = Canonical.UNIMPLEMENTED


class Stopping(RaincheckError):
    """The server is stopping and takes nothing new; try again in a moment."""

    code, http, kind = "stopping", 503, "server_error"
    grpc = Canonical.UNAVAILABLE


class StoreUnavailable(RaincheckError):
    """The store cannot be written just now; nothing was accepted, try again."""

    code, http, kind = "store_unavailable", 503, "server_error"
    grpc = Canonical.UNAVAILABLE


class SecretSealed(RaincheckError):
    """This secret was sealed with a key that the server does not have; set RAINCHECK_SEALING_KEY as it was."""

    code, http, kind = "secret_sealed", 503, "server_error"


class FenceLost(RaincheckError):
    """The lease on this batch was lost: another goes on with it, or it has ended."""

    code = "fence_lost"


class StoreTaken(RaincheckError):
    """Another process owns this store; stop it, or give this one a store of its own with --store."""

    code = "store_taken"


class SchemaTooNew(RaincheckError):
    """The store was written by a newer Raincheck; upgrade this one."""

    code = "schema_too_new"


class SettingsInvalid(RaincheckError):
    """The configuration is not valid; `raincheck check` lists what is wrong."""

    code = "settings_invalid"


class ModelUnavailable(RaincheckError):
    """The embedded model cannot run on this machine."""

    code = "model_unavailable"
