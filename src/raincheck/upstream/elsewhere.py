"""An upstream that runs inside the workers, as a process without one knows it: by name and models, not to be called."""

from contextlib import AbstractAsyncContextManager

from raincheck.core.errors import UpstreamDown
from raincheck.core.outcome import Failure, FailureKind, Reply, RequestError
from raincheck.upstream.protocol import Relayed, Report, Takes, Work


class Elsewhere:
    """Takes the place of a function or an embedded model where nothing is worked on."""

    def __init__(self, name: str, models: frozenset[str], takes: Takes) -> None:
        self.name = name
        self.takes = takes
        self._models = models

    async def start(self) -> None:
        """There is nothing to start."""

    async def close(self) -> None:
        """There is nothing to let go of."""

    async def probe(self) -> frozenset[str]:
        return self._models

    async def perform(self, work: Work, report: Report) -> Reply | Failure:  # noqa: ARG002 - as the protocol has it
        return Failure(FailureKind.UNREACHABLE, RequestError(self._refusal, code="upstream_down"))

    async def abandon(self, remote_id: str) -> None:  # noqa: ARG002
        raise UpstreamDown(self._refusal)

    def relay(self, path: str, payload: bytes) -> AbstractAsyncContextManager[Relayed]:  # noqa: ARG002
        raise UpstreamDown(self._refusal)

    @property
    def _refusal(self) -> str:
        return f"The upstream {self.name!r} runs inside the workers, and this process is none."
