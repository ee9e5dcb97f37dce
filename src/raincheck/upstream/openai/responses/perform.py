"""Work on `/responses` in; the whole Response, told in events on the way, or a Failure out."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import aiohttp
import msgspec

from raincheck.core import clock
from raincheck.core.clock import FOREVER
from raincheck.core.errors import BadInput
from raincheck.core.outcome import Failure, FailureKind, Reply, RequestError
from raincheck.core.responses import Json, aside, plain
from raincheck.upstream.openai import failures
from raincheck.upstream.openai.payload import Payload
from raincheck.upstream.openai.responses.asking import (
    CHAT,
    Way,
    ask_otherwise,
    encode,
    has_no_responses,
    wants_max_completion_tokens,
)
from raincheck.upstream.openai.responses.frame import Frame
from raincheck.upstream.openai.responses.listen import ResponseListener
from raincheck.upstream.openai.responses.narrate import Narrator
from raincheck.upstream.openai.responses.scribe import EventsTooLarge, Scribe
from raincheck.upstream.openai.responses.translate import translate
from raincheck.upstream.openai.responses.untranslatable import NotTranslatable
from raincheck.upstream.openai.sse import EventReader
from raincheck.upstream.openai.wire import Wire, part
from raincheck.upstream.protocol import Report, Work

PATH = "/responses"
_CHAT_PATH = "/chat/completions"
_MOST_HABITS = 1_000
_KEPT_ANSWERS = 4
"""An event costs several times the text that it brings: so many times the largest answer may all events be."""
_NUMBER = msgspec.json.Decoder(int | None)

Complete = Callable[[Work, Payload, Report], Awaitable[Reply | Failure]]
Refused = Callable[[int, Mapping[str, str], bytes], Failure]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What is needed of the upstream that this belongs to."""

    name: str
    wire: Wire
    largest: int
    """Bytes of the largest answer taken."""
    complete: Complete
    """Performs a chat completion."""
    refused: Refused
    """What an answer that is no success means."""

    @property
    def most_of_events(self) -> int:
        """Bytes of all events of one response."""
        return _KEPT_ANSWERS * self.largest


class Responses:
    """Responses at one server: by its own API where it has all of it, and by its chat completions where not."""

    def __init__(self, server: Server, first: Way, *, habit_for: int) -> None:
        """What the server turned out to take is tried anew after `habit_for`, in microseconds: it may have been a
        stumble, or another server is there now."""
        self.server = server
        self._first = first
        self._habit_for = habit_for
        self._ways: dict[str, tuple[Way, int]] = {}
        """What the server turned out to take, by model, and until when that is believed."""
        self._native: set[str] = set()
        """Models that were answered by its own API: then it has one, and what says otherwise is a stumble."""
        self._newer: set[str] = set()
        """Models whose chats are bounded by `max_completion_tokens` alone."""

    def way(self, model: str) -> Way:
        """How a response of this model is asked for, as far as known."""
        way, until = self._ways.get(model, (self._first, FOREVER))
        return way if clock.now() < until else self._first

    def has(self, model: str) -> None:
        """The server has answered for this model by its own API."""
        if len(self._native) < _MOST_HABITS:
            self._native.add(model)

    async def perform(self, work: Work, report: Report) -> Reply | Failure:
        """As `Upstream.perform`. With `stream` in its payload the events are also made a file, `events.jsonl`.

        Raises what the wire raises, and BadInput for a payload that no server could read.
        """
        members = members_of(work.payload)
        kept = work.bench if plain(members.get("stream")) is True else None
        frame = Frame(members, work.request_id, work.created_at or clock.now(), background=True)
        with Scribe(report, kept, self.server.most_of_events) as scribe:
            return await self.respond(work, frame, scribe, self.way(work.model))

    async def respond(
        self, work: Work, frame: Frame, scribe: Scribe, way: Way, refusal: Failure | None = None
    ) -> Reply | Failure:
        """Ask this way, and otherwise when that is refused; what works is remembered for the next calls. `refusal` is
        why the server's own API is not asked."""
        while True:
            try:
                answer = await (self._ask(work, frame, scribe, way) if way.native else self._chat(work, frame, scribe))
            except EventsTooLarge:
                return failures.too_large(self.server.name, self.server.largest)
            except NotTranslatable as error:
                return self._untranslated(work.model, error, refusal)
            if isinstance(answer, Failure) and not scribe.count and (other := ask_otherwise(way, answer)):
                answer, refusal = other, answer
            if not isinstance(answer, Way):
                break
            way = answer
        if isinstance(answer, Reply):
            self._remember(work.model, way)
        return answer

    def _remember(self, model: str, way: Way) -> None:
        if way.native:
            self.has(model)
        if way == self.way(model) or (model in self._native and not way.native):
            return
        if model in self._ways or len(self._ways) < _MOST_HABITS:
            self._ways[model] = (way, clock.now() + self._habit_for)

    def _untranslated(self, model: str, error: NotTranslatable, refusal: Failure | None) -> Failure:
        """What to say of a response that can be had neither way."""
        if refusal is not None and model in self._native:
            return replace(refusal, kind=FailureKind.TRANSIENT)
        message = error.message if refusal is None else f"{error.message} The server said: {refusal.error.message}"
        return Failure(FailureKind.REJECTED, RequestError(message, error.kind, error.code, error.param))

    async def _ask(self, work: Work, frame: Frame, scribe: Scribe, way: Way) -> Reply | Failure | Way:
        """By the server's own API; or the way that is better, when it has only some of it."""
        server = self.server
        body = await aside(len(work.payload), partial(encode, frame.members, way))
        async with server.wire.post(PATH, body) as response:
            if not 200 <= response.status < 300:
                said = await server.wire.read_some(response, failures.KEPT)
                return server.refused(response.status, response.headers, said)
            listener = ResponseListener(server.name, frame, scribe, _number(frame.members, "max_output_tokens"))
            if response.content_type == "text/event-stream":
                answer = await self._listen(response, listener)
                return CHAT if listener.partial else answer
            body = await server.wire.read(response, server.largest)
            if body.lstrip()[:6].startswith((b"data:", b"event:", b":")):
                reader = EventReader(server.largest)
                listener.take(reader.feed(body) + reader.end())
            elif has_no_responses(response.status, body):
                return CHAT
            else:
                listener.whole(body)
            return CHAT if listener.partial else listener.answer()

    async def _listen(self, response: aiohttp.ClientResponse, listener: ResponseListener) -> Reply | Failure:
        reader = EventReader(self.server.largest)
        try:
            async for piece in self.server.wire.pieces(response):
                if listener.take(reader.feed(piece)):
                    if not listener.partial:
                        await part(response)
                    return listener.answer()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return listener.answer(failures.broke(self.server.name, error))
        listener.take(reader.end())
        return listener.answer()

    async def _chat(self, work: Work, frame: Frame, scribe: Scribe) -> Reply | Failure:
        """By a chat completion that asks for the same. Raises NotTranslatable, BadInput."""
        chat = await aside(len(work.payload), partial(translate, frame.members))
        narrator = Narrator(frame, scribe)
        answer = await self._complete(work, chat, narrator)
        if isinstance(answer, Failure):
            return answer
        response = narrator.finish(answer)
        if response is None:
            what = "answered something that is no chat completion."
            return failures.transient(self.server.name, "upstream_not_json", what, answer.body)
        return response

    async def _complete(self, work: Work, chat: Json, narrator: Narrator) -> Reply | Failure:
        bounded = "max_tokens" in chat
        if bounded and work.model in self._newer:
            chat = _by_newer_name(chat)
        answer = await self._call(work, chat, narrator)
        if bounded and "max_tokens" in chat and isinstance(answer, Failure) and wants_max_completion_tokens(answer):
            answer = await self._call(work, _by_newer_name(chat), narrator)
            if isinstance(answer, Reply) and len(self._newer) < _MOST_HABITS:
                self._newer.add(work.model)
        return answer

    async def _call(self, work: Work, chat: Json, narrator: Narrator) -> Reply | Failure:
        body = msgspec.json.encode(chat)
        return await self.server.complete(
            replace(work, path=_CHAT_PATH, payload=body), Payload(members_of(body)), narrator
        )


def members_of(payload: bytes) -> dict[str, msgspec.Raw]:
    """Raises BadInput when it is no JSON object."""
    if (read := Payload.read(payload)) is None:
        raise BadInput("The body must be a JSON object.")
    return read.members


def _by_newer_name(chat: Json) -> Json:
    return {"max_completion_tokens" if name == "max_tokens" else name: value for name, value in chat.items()}


def _number(members: Mapping[str, msgspec.Raw], name: str) -> int | None:
    try:
        return _NUMBER.decode(members[name]) if name in members else None
    except msgspec.DecodeError:
        return None
