"""From a job that its server gave up to the Failure: is it the caller's input, or may another job do?"""

import msgspec

from raincheck.core.outcome import Failure, FailureKind
from raincheck.upstream.openai import failures
from raincheck.upstream.videos.job import Job
from raincheck.upstream.videos.wire import Answer

_THEIRS = ("moderat", "policy", "safety", "nsfw", "invalid", "permission", "precondition", "unsupported", "not_allowed")
"""What stands in the code or type of an error that the same input would meet again."""


def failed(name: str, job: Job) -> Failure:
    """What the end of a job that failed means."""
    failure = failures.streamed(name, job.body)
    error = failure.error
    words = f"{error.code or ''} {error.type}".lower()
    if any(word in words for word in _THEIRS):
        return Failure(FailureKind.REJECTED, msgspec.structs.replace(error, type="invalid_request_error"))
    if not Answer(200, {}, job.body).members().get("error"):
        message = f"The upstream {name!r} ended the job as {job.word!r} and did not say why."
        error = msgspec.structs.replace(error, message=message, code="remote_job_failed")
    # A 429 or a model that is being loaded is what the job met, and it was begun: the attempt counts.
    kind = FailureKind.REJECTED if failure.kind is FailureKind.REJECTED else FailureKind.TRANSIENT
    return Failure(kind, error)


def lost(name: str) -> Failure:
    """The server no longer knows the job."""
    return failures.transient(name, "remote_job_lost", "no longer knows the job; the request is submitted anew.")


def withheld(name: str, why: str) -> Failure:
    """The server made the video and does not hand it out."""
    failure = failures.transient(name, "moderation_blocked", why)
    return Failure(FailureKind.REJECTED, msgspec.structs.replace(failure.error, type="invalid_request_error"))
