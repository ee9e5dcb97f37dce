"""Work in, one HTTP call to an OpenAI-compatible server, and its whole answer or a Failure out."""

from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, cast

import aiohttp
import msgspec

from raincheck.core import clock
from raincheck.core.errors import BadInput, UpstreamBroke, UpstreamDown
from raincheck.core.outcome import Failure, FailureKind, Reply, RequestError
from raincheck.upstream.openai import failures
from raincheck.upstream.openai.listen import Listener
from raincheck.upstream.openai.payload import Asking, Payload, ask_for_less
from raincheck.upstream.openai.responses.asking import CHAT, Way
from raincheck.upstream.openai.responses.perform import PATH as RESPONSES
from raincheck.upstream.openai.responses.perform import Responses, Server
from raincheck.upstream.openai.responses.relay import relay
from raincheck.upstream.openai.sse import EventReader, EventTooLarge
from raincheck.upstream.openai.wire import PROBE_TIMEOUT, TooLarge, Wire, part
from raincheck.upstream.protocol import Relayed, Report, Takes, Work

LARGEST_ANSWER = 64 << 20
_COMPLETIONS = frozenset({"/chat/completions", "/completions"})
_MOST_HABITS = 1_000
_PASSED_ON = ("content-type", "retry-after", "retry-after-ms", "openai-processing-ms", "openai-version")
_PASSED_ON_PREFIX = "x-ratelimit-"


class OpenAIUpstream:
    """One server that speaks the OpenAI API.

    Completions and responses are always asked for as a stream and assembled: only that makes cancel real on common
    servers, shows progress, and tells a cut-off answer from a whole one. Every other path is one plain call.

    Without `responses`, its Responses API is not used, and what asks for responses is translated to chat completions;
    a server that turns out to have none needs no such word. That is believed for `habit_for`, in microseconds.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        api_key: str | None = None,
        stream: bool = True,
        silence_timeout: int = 300 * clock.SECOND,
        unix_socket: str | None = None,
        keep_alive: bool = True,
        largest_answer: int = LARGEST_ANSWER,
        responses: bool = True,
        habit_for: int = 10 * clock.MINUTE,
    ) -> None:
        self._name = name
        self._largest = largest_answer
        self._asking = Asking.STREAM_WITH_USAGE if stream else Asking.WHOLE
        self._habits: dict[tuple[str, str, bool], Asking] = {}
        """What this server turned out to take, by path, model and whether there are tools."""
        self._wire = Wire(
            base_url,
            api_key=api_key,
            silence_timeout=silence_timeout,
            unix_socket=unix_socket,
            keep_alive=keep_alive,
        )
        server = Server(
            name=name, wire=self._wire, largest=largest_answer, complete=self._complete, refused=self._refused
        )
        self._responses = Responses(server, Way(stream=stream) if responses else CHAT, habit_for=habit_for)

    @property
    def name(self) -> str:
        return self._name

    @property
    def takes(self) -> Takes:
        return Takes.CALLS

    async def start(self) -> None:
        """Open the client; nothing is sent yet."""
        await self._wire.open()

    async def close(self) -> None:
        """Close every connection."""
        await self._wire.close()

    async def probe(self) -> frozenset[str]:
        """The models it lists; none when it has no such list, which is no fault."""
        try:
            async with self._wire.get("/models") as response:
                status = response.status
                body = await self._wire.read(response, 4 << 20)
        except TimeoutError as error:
            message = f"The upstream {self.name!r} did not answer GET /models within {PROBE_TIMEOUT:.0f} s."
            raise UpstreamDown(message) from error
        except TooLarge as error:
            raise UpstreamDown(f"The list of models of the upstream {self.name!r} is larger than 4 MiB.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamDown(failures.broke(self.name, error).error.message) from error
        if status in (404, 405, 501):
            return frozenset()
        if not 200 <= status < 300:
            raise UpstreamDown(f"GET /models: {self._refused(status, {}, body).error.message}")
        return _listed(self.name, body)

    async def perform(self, work: Work, report: Report) -> Reply | Failure:
        """Make the call; cancelling closes its connection at once, which is how these servers are told to stop."""
        return await self._guarded(self._perform(work, report))

    async def abandon(self, remote_id: str) -> None:
        """There are none: every call is over when its connection is."""

    def relay(self, path: str, payload: bytes) -> AbstractAsyncContextManager[Relayed]:
        """Pass a call through as it is, but translate a response for a server that has no such API. The body raises
        UpstreamBroke when the connection breaks midway."""
        passed = partial(self._pass, path, payload)
        return relay(self._responses, payload, passed, self._guarded) if path == RESPONSES else passed()

    @asynccontextmanager
    async def _pass(self, path: str, payload: bytes) -> AsyncGenerator[Relayed]:
        async with AsyncExitStack() as stack:
            try:
                response = await stack.enter_async_context(self._wire.post(path, payload))
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                failure = failures.broke(self.name, error)
                kind = UpstreamDown if failure.kind is FailureKind.UNREACHABLE else UpstreamBroke
                raise kind(failure.error.message) from error
            if not 200 <= response.status <= 599:
                raise UpstreamBroke(f"The upstream {self.name!r} answered {response.status}, which is no status.")
            yield Relayed(response.status, _passed_on(response.headers), self._pieces(response))

    async def _perform(self, work: Work, report: Report) -> Reply | Failure:
        if work.path == RESPONSES:
            return await self._responses.perform(work, report)
        payload = Payload.read(work.payload) if work.path in _COMPLETIONS else None
        if payload is not None:
            return await self._complete(work, payload, report)
        async with self._wire.post(work.path, work.payload) as response:
            return await self._answer(response)

    async def _guarded(self, answer: Coroutine[Any, Any, Reply | Failure]) -> Reply | Failure:
        """An answer, whatever the wire and the server do meanwhile."""
        try:
            return await answer
        except BadInput as error:
            return Failure(FailureKind.REJECTED, RequestError(error.message, error.kind, error.code, error.param))
        except (TooLarge, EventTooLarge):
            return failures.too_large(self.name, self._largest)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return failures.broke(self.name, error)

    async def _complete(self, work: Work, payload: Payload, report: Report) -> Reply | Failure:
        """Ask for a stream, and for less when that is refused; what works is remembered for the next call."""
        habit = (work.path, work.model, "tools" in payload.members)
        asking = known = self._habits.get(habit, self._asking)
        while True:
            answer = await self._ask(work, payload, asking, report)
            less = ask_for_less(asking, answer) if isinstance(answer, Failure) else None
            if less is None:
                break
            asking = less
        if asking is not known and isinstance(answer, Reply) and len(self._habits) < _MOST_HABITS:
            self._habits[habit] = asking
        return answer

    async def _ask(self, work: Work, payload: Payload, asking: Asking, report: Report) -> Reply | Failure:
        async with self._wire.post(work.path, payload.encode(asking)) as response:
            if not 200 <= response.status < 300 or asking is Asking.WHOLE:
                return await self._answer(response, completion=True)
            listener = Listener(self.name, payload, report, legacy=work.path == "/completions", largest=self._largest)
            if response.content_type == "text/event-stream":
                return await self._listen(response, listener)
            # Some cannot stream and answer the whole thing, and some stream under another name.
            body = await self._wire.read(response, self._largest)
            if body.lstrip()[:6].startswith((b"data:", b"event:", b":")):
                reader = EventReader(self._largest)
                listener.take(reader.feed(body) + reader.end())
                return listener.answer()
            return self._judge(response, body, completion=True)

    async def _listen(self, response: aiohttp.ClientResponse, listener: Listener) -> Reply | Failure:
        reader = EventReader(self._largest)
        try:
            async for piece in self._wire.pieces(response):
                if listener.take(reader.feed(piece)):
                    await part(response)
                    return listener.answer()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return listener.answer(failures.broke(self.name, error))
        listener.take(reader.end())
        return listener.answer()

    async def _answer(self, response: aiohttp.ClientResponse, *, completion: bool = False) -> Reply | Failure:
        if not 200 <= response.status < 300:
            said = await self._wire.read_some(response, failures.KEPT)
            return self._refused(response.status, response.headers, said)
        return self._judge(response, await self._wire.read(response, self._largest), completion=completion)

    def _judge(self, response: aiohttp.ClientResponse, body: bytes, *, completion: bool) -> Reply | Failure:
        """A whole body as a Reply, unless it is not what a success looks like."""
        content_type = response.headers.get("content-type", "application/json")
        usage = None
        if completion or "json" in content_type or "html" in content_type:
            try:
                peek = _peek(body)
            except failures.NOT_JSON:
                return failures.transient(self.name, "upstream_not_json", "answered something that is no JSON.", body)
            if peek is None and completion:
                return failures.transient(self.name, "upstream_not_json", "answered JSON that is no object.", body)
            peek = peek or _Peek()
            if completion and peek.choices == _NULL and peek.error != _NULL:
                return failures.streamed(self.name, body)
            usage = None if peek.usage == _NULL else bytes(peek.usage)
        return Reply(body, response.status, content_type, usage)

    def _refused(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        return failures.answered(self.name, status, headers, body, now=clock.now())

    async def _pieces(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        try:
            async for piece in self._wire.pieces(response):
                yield piece
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UpstreamBroke(failures.broke(self.name, error).error.message) from error


_NULL = msgspec.Raw(b"null")


class _Peek(msgspec.Struct):
    """The members of an answer that matter here; the rest is only checked to be JSON."""

    usage: msgspec.Raw = _NULL
    error: msgspec.Raw = _NULL
    choices: msgspec.Raw = _NULL


def _peek(body: bytes) -> _Peek | None:
    """None for JSON that is no object. Raises failures.NOT_JSON."""
    if not body.isascii():
        body.decode()  # What the decoder skips it does not look into, and a client would trip over it.
    try:
        return msgspec.json.decode(body, type=_Peek)
    except msgspec.ValidationError:
        msgspec.json.decode(body)
        return None


class _Listing(msgspec.Struct):
    data: list[Any]


def _listed(name: str, body: bytes) -> frozenset[str]:
    """The models that have a name; an entry without one takes nothing from the others."""
    message = f"The upstream {name!r} answered GET /models with no list of models; check its base_url."
    try:
        data = msgspec.json.decode(body, type=_Listing).data
    except failures.NOT_JSON as error:
        raise UpstreamDown(message) from error
    ids = [cast("dict[str, Any]", entry).get("id") for entry in data if isinstance(entry, dict)]
    listed = frozenset(model for model in ids if isinstance(model, str) and model)
    if data and not listed:  # None at all would mean that it may serve any.
        raise UpstreamDown(message)
    return listed


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that mean something to whoever made the call; framing, encoding and whose key it is are ours."""
    kept: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower in _PASSED_ON or lower.startswith(_PASSED_ON_PREFIX):
            kept[lower] = value
        elif lower == "x-request-id":
            kept["x-upstream-request-id"] = value
    return kept
