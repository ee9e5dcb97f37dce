"""A video as it stands (Seen): takes a record and its payload, hands on all that the dialects tell of it."""

from dataclasses import dataclass
from functools import cached_property

import msgspec
from msgspec import structs

from raincheck.core.clock import SECOND
from raincheck.core.model import Request
from raincheck.core.status import Status
from raincheck.core.videos import VideoAsk, dimensions
from raincheck.intake.retrieve import Linked, View

_ASK = msgspec.json.Decoder(VideoAsk)


class Answer(msgspec.Struct, frozen=True):
    """What is shown of an upstream's answer. A handler of the user's may have said anything."""

    seconds: float | None = None
    width: int | None = None
    height: int | None = None
    seed: int | None = None


_ANSWER = msgspec.json.Decoder(Answer)


@dataclass(frozen=True)
class Seen:
    """A video as it stands, for one caller."""

    view: View
    ask: VideoAsk | None
    """None once it was purged."""
    base: str
    """This server's URL, as this caller reaches it."""

    @property
    def request(self) -> Request:
        return self.view.request

    @cached_property
    def answer(self) -> Answer:
        result = self.view.result
        try:
            return Answer() if result is None or not result.body else _ANSWER.decode(result.body)
        except msgspec.DecodeError:
            return Answer()

    @property
    def videos(self) -> list[Linked]:
        return [file for file in self.view.files if file.attachment.content_type.startswith("video/")]

    @property
    def length(self) -> float | None:
        """Seconds: what was made, else what was asked for."""
        return self.answer.seconds if self.answer.seconds is not None else self.ask and self.ask.seconds

    @property
    def size(self) -> str | None:
        """What was made, else what will be; None when that depends on an input, or was purged."""
        if self.answer.width and self.answer.height:
            return words_of((self.answer.width, self.answer.height))
        ask = self.ask
        if ask is None or (_unshaped(ask) and (ask.image is not None or ask.video is not None)):
            return None
        return words_of(dimensions(ask))

    @property
    def percent(self) -> int:
        """Whole, and 100 for what is there alone."""
        return 100 if self.request.status is Status.COMPLETED else percent_of(self.view.progress)

    def url(self, file: Linked | None) -> str | None:
        """A link for anyone."""
        return None if file is None else self.base + file.path

    def file(self, name: str) -> Linked | None:
        return next((file for file in self.view.files if file.attachment.name == name), None)


def percent_of(progress: float | None) -> int:
    """Whole, of what is not there yet."""
    return min(99, max(0, int((progress or 0) * 100)))


def words_of(dimensions: tuple[int, int]) -> str:
    """Width and height as in `1280x720`."""
    return f"{dimensions[0]}x{dimensions[1]}"


def _unshaped(ask: VideoAsk) -> bool:
    return ask.size is None and ask.aspect_ratio is None and ask.resolution is None


def ask_of(payload: bytes | None) -> VideoAsk | None:
    """What was asked for, in the record's own words."""
    try:
        return None if payload is None else _ASK.decode(payload)
    except msgspec.DecodeError:
        return None


def receipt(request: Request) -> Request:
    """The record as it is shown to a key that may only write: what it said itself, and where it stands."""
    return structs.replace(request, error=None, usage=None, progress=None, progress_message=None)


def completed_at(request: Request) -> int | None:
    return whole(request.ended_at) if request.status is Status.COMPLETED else None


def whole(us: int | None) -> int | None:
    return None if us is None else us // SECOND


def length_text(length: float | None) -> str | None:
    """Seconds as OpenAI writes them: `4`, and a fraction only where there is one."""
    return None if length is None else f"{round(length, 3):g}"
