"""A call whose caller waits: nobody listens on the way, nothing is kept, and so no files can be made."""

import math
from pathlib import Path
from typing import NoReturn, assert_never

from raincheck.core.clock import SECOND
from raincheck.core.errors import UpstreamDown
from raincheck.core.outcome import Failure, FailureKind, Reply, envelope
from raincheck.core.videos import Source
from raincheck.upstream.protocol import JSON, Brought, Relayed, whole
from raincheck.upstream.python.job import Reject

NO_FILES = (
    "This handler works with files, which a caller that waits for the answer cannot be given; defer the request "
    '("deferred": true, or `Prefer: respond-async`).'
)


class Unheard:
    """The report of such a call."""

    def progress(self, fraction: float | None, message: str | None = None) -> None: ...

    def delta(self, data: bytes) -> None: ...

    async def remote(self, remote_id: str | None) -> None: ...

    async def stray(self, remote_id: str) -> None: ...


class NoBench:
    """Its bench: whoever asks for it is told to defer."""

    @property
    def folder(self) -> Path:
        self._refuse()

    async def bring(self, source: Source) -> Brought:  # noqa: ARG002 - as the protocol has it
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise Reject(NO_FILES, "files_need_deferral")


def relayed(answer: Reply | Failure) -> Relayed:
    """An answer as the waiting caller reads it. Raises UpstreamDown when the function is not running."""
    if isinstance(answer, Reply):
        return whole(answer.status, answer.body, {"content-type": answer.content_type})
    headers = dict(JSON)
    if answer.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(answer.retry_after / SECOND)))
    error = answer.error
    match answer.kind:
        case FailureKind.REJECTED:
            status = (error.upstream and error.upstream.status) or 400
        case FailureKind.BUSY:
            status = 429
        case FailureKind.TRANSIENT:
            status = 500
        case FailureKind.UNREACHABLE:
            raise UpstreamDown(error.message)
        case _:
            assert_never(answer.kind)
    return whole(status, envelope(error), headers)
