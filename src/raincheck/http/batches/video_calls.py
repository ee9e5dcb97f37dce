"""Takes lines of batches that ask for videos, hands on what the same calls would be and get if they came one by one."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from raincheck.core.model import Request, Result, Tenant
from raincheck.core.settings import Settings
from raincheck.http.edge import Edge
from raincheck.http.videos.as_native import native
from raincheck.http.videos.as_openai import openai
from raincheck.http.videos.as_xai import xai
from raincheck.http.videos.openai import DEFAULT_SECONDS
from raincheck.http.videos.reading import Wish, sheet_of, wish_of
from raincheck.http.videos.seen import Seen, ask_of
from raincheck.intake.admit import Submission
from raincheck.intake.batches.calls import VIDEO_URLS, path_of
from raincheck.intake.retrieve import View
from raincheck.intake.videos import check, settle

OPENAI = VIDEO_URLS[0]


@dataclass(frozen=True, slots=True)
class EdgeVideos:
    """What lines on videos come to (`intake.batches.calls.VideoCalls`)."""

    edge: Edge
    base: str | None = None
    """This server's URL, as whoever asks reaches it; None where nobody does."""

    def check(self, url: str, members: Mapping[str, msgspec.Raw]) -> str | None:
        """The model asked for, None when none is named. Raises BadInput; asks nobody."""
        order = _wish(url, members).order
        check(order)
        return order.model

    async def submission(
        self, tenant: Tenant, url: str, members: Mapping[str, msgspec.Raw], fresh: list[str]
    ) -> Submission:
        """What to record; `fresh` takes the blobs this puts into the object store. Raises what `settle` does."""
        edge, wish = self.edge, _wish(url, members)
        settled = await settle(
            wish.order,
            tenant.name,
            fresh,
            inbox=edge.inbox,
            requests=edge.store.requests,
            catalogue=edge.catalogue,
        )
        return wish.submission(settled)

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
        return Seen(view, ask_of(payload), self.base or base_in(self.edge.settings))


def base_in(settings: Settings) -> str:
    """Where this server is reached, as far as it can be known while nobody calls."""
    return settings.public_url or f"http://{settings.host}:{settings.port}"


def _wish(url: str, members: Mapping[str, msgspec.Raw]) -> Wish:
    seconds = DEFAULT_SECONDS if url == OPENAI else None
    return wish_of(sheet_of(members), path_of(url), {}, default_seconds=seconds)
