"""The upstream of kind `local`: a real, very small language model inside Raincheck, or any GGUF file of the user's."""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import msgspec

from raincheck.core.clock import SECOND
from raincheck.core.errors import UpstreamDown
from raincheck.core.outcome import Failure, FailureKind, Reply, RequestError, UpstreamError, envelope
from raincheck.core.settings import EMBEDDED_CONCURRENCY
from raincheck.upstream.local import weights
from raincheck.upstream.local.server import LocalModel
from raincheck.upstream.openai.upstream import OpenAIUpstream
from raincheck.upstream.protocol import Relayed, Report, Takes, Work


class LocalUpstream:
    """The embedded model. `start` fetches its weights when they are not there yet and waits until it answers.

    Give `model_path` to serve a GGUF file of your own; its model is called like the file, in lower case and without
    `.gguf`. `on_fetch` is told how far fetching is, in bytes, from a thread.
    """

    def __init__(
        self,
        *,
        name: str = "local",
        model_path: str | None = None,
        max_concurrency: int = EMBEDDED_CONCURRENCY["local"],
        silence_timeout: int = 300 * SECOND,
        offline: bool | None = None,
        on_fetch: weights.Progress | None = None,
    ) -> None:
        self.name = name
        self.model = Path(model_path).stem.lower() if model_path else weights.SMOLLM2.model
        self.max_concurrency = max_concurrency
        self._path = Path(model_path) if model_path else None
        self._silence_timeout = silence_timeout
        self._offline = offline
        self._on_fetch = on_fetch
        self.served: LocalModel | None = None
        """The child process that serves the model, once started."""
        self._wire: OpenAIUpstream | None = None

    @property
    def takes(self) -> Takes:
        return Takes.CALLS

    async def start(self) -> None:
        path = self._path or await self._weights()
        served = LocalModel(path, alias=self.model, parallel=self.max_concurrency)
        await served.start()
        self.served = served
        self._wire = OpenAIUpstream(
            name=self.name,
            base_url="http://localhost/v1",
            api_key=None,
            stream=True,
            silence_timeout=self._silence_timeout,
            unix_socket=str(served.socket),
            keep_alive=False,  # llama.cpp closes after every stream although it promises not to
            responses=False,  # its own leave out structured output, and call an answer whole that was cut short
        )
        await self._wire.start()

    async def close(self) -> None:
        if self._wire:
            await self._wire.close()
            self._wire = None
        if self.served:
            await self.served.close()
            self.served = None

    async def probe(self) -> frozenset[str]:
        await self._up().probe()
        return frozenset({self.model})

    async def perform(self, work: Work, report: Report) -> Reply | Failure:
        if refusal := self._refusal(work.payload):
            return Failure(FailureKind.REJECTED, refusal)
        try:
            wire = self._up()
        except UpstreamDown as error:
            reason = RequestError(error.message, error.kind, error.code, upstream=UpstreamError(self.name))
            return Failure(FailureKind.UNREACHABLE, reason)
        return await wire.perform(work, report)

    async def abandon(self, remote_id: str) -> None:
        """There are none: every call is over when its connection is."""

    def relay(self, path: str, payload: bytes) -> AbstractAsyncContextManager[Relayed]:
        if refusal := self._refusal(payload):
            return _refused(refusal)
        return self._up().relay(path, payload)

    def _up(self) -> OpenAIUpstream:
        if self._wire is None or self.served is None:
            raise UpstreamDown("The embedded model is not started.")
        if self.served.down:
            raise UpstreamDown(self.served.down)
        return self._wire

    def _refusal(self, payload: bytes) -> RequestError | None:
        """What the embedded model would take in silence and not do; a model of the user's may be able to."""
        if self._path is not None:
            return None
        try:
            asked = msgspec.json.decode(payload, type=_Asked)
        except msgspec.DecodeError:
            return None  # its own server says best what is wrong
        if not asked.tools and asked.tool_choice in (None, "none", "auto"):
            return None
        return RequestError(
            "the embedded model has no tool calling; use another upstream",
            "invalid_request_error",
            "tools_not_supported",
            "tools" if asked.tools else "tool_choice",
            UpstreamError(self.name, 400),
        )

    async def _weights(self) -> Path:
        if found := weights.find():
            return found
        stop = threading.Event()
        try:
            return await asyncio.to_thread(weights.pull, offline=self._offline, progress=self._on_fetch, stop=stop)
        finally:
            stop.set()  # a start that is cancelled takes the fetching thread along


class _Asked(msgspec.Struct):
    tools: list[msgspec.Raw] | None = None
    tool_choice: str | dict[str, msgspec.Raw] | None = None


@asynccontextmanager
async def _refused(refusal: RequestError) -> AsyncGenerator[Relayed]:
    async def body() -> AsyncIterator[bytes]:
        yield envelope(refusal)

    yield Relayed(400, {"content-type": "application/json"}, body())
