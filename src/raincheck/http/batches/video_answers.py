"""Takes finished videos of batches, hands on what reading them one by one says."""

from dataclasses import dataclass

import msgspec

from raincheck.core.model import Request, Result
from raincheck.core.settings import base_url
from raincheck.http.edge import Edge
from raincheck.http.videos.as_native import native
from raincheck.http.videos.as_openai import openai
from raincheck.http.videos.as_xai import xai
from raincheck.intake.retrieve import View
from raincheck.intake.seen import Seen, ask_of
from raincheck.intake.video_calls import OPENAI


@dataclass(frozen=True, slots=True)
class EdgeVideos:
    """See `intake.batches.calls.VideoAnswers`."""

    edge: Edge
    base: str | None = None
    """This server's URL, as whoever asks reaches it; None where nobody does."""

    def answer(self, url: str, request: Request, payload: bytes, result: Result) -> bytes:
        """What reading the finished video says, in the dialect of the url."""
        seen = self._seen(request, payload, result)
        return msgspec.json.encode(openai(seen) if url == OPENAI else native(seen))

    def as_xai(self, request: Request, payload: bytes, result: Result) -> bytes:
        """The same in xAI's words."""
        return msgspec.json.encode(xai(self._seen(request, payload, result)))

    def _seen(self, request: Request, payload: bytes, result: Result) -> Seen:
        view = View(request, None, None, result=result)
        view.files = self.edge.desk.linked(request, result)
        return Seen(view, ask_of(payload), self.base or base_url(self.edge.settings))
