"""`client.videos`: videos as deferred requests, beside openai's own calls on the same videos."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Unpack, cast

import httpx2
from openai import NotGiven, Omit, RequestOptions, Timeout, not_given, omit
from openai._base_client import AsyncPaginator, make_request_options
from openai.pagination import AsyncConversationCursorPage, SyncConversationCursorPage
from openai.resources.videos import AsyncVideos, Videos
from openai.types import VideoDeleteResponse
from typing_extensions import TypedDict

from raincheck.client.cancelling import acancel, cancel
from raincheck.client.dialect import Dialect, video_path
from raincheck.client.downloads import Variant, adownload, download, video_file
from raincheck.client.errors import NoRequestId, RequestEnded
from raincheck.client.models import Request
from raincheck.client.submitting import DeferOptions, submission
from raincheck.client.ticket import AsyncTicket, BlockingWaitOptions, Ticket, WaitOptions
from raincheck.client.twins import share_docs
from raincheck.client.uploads import Input, asettled, settled
from raincheck.client.video import Video


class Wish(DeferOptions, total=False):
    """What may be said about any video. What is not said is left to the server; `extra_body` holds what only the
    upstream understands."""

    model: str
    size: str
    """Width and height in pixels, as in `1280x720`."""
    aspect_ratio: str
    """`16:9`, `9:16`, `1:1`, `4:3`, `3:4`, `3:2` or `2:3`."""
    resolution: str
    """`480p`, `720p` or `1080p`."""
    seconds: float
    """How long it shall play; of an extension, what is added."""
    duration: float
    """The same, as xAI calls it."""
    seed: int
    user: str
    service_tier: str
    extra_body: Mapping[str, object]
    extra_headers: Mapping[str, str]


class GenerateParams(Wish, WaitOptions, total=False):
    """Everything `generate` takes beside the prompt."""

    image: Input
    """The first frame: a path, bytes, an open file, a URL, a data URI, or the id of an uploaded file."""
    reference_images: list[Input]
    wait_for_completion: bool


class ChangeParams(Wish, WaitOptions, total=False):
    """Everything `edit` and `extend` take beside the prompt and the video."""

    wait_for_completion: bool


class CallOptions(TypedDict, total=False):
    """What openai lets add to any call."""

    extra_headers: Mapping[str, str]
    extra_query: Mapping[str, object]
    extra_body: object
    timeout: float | Timeout | None


class DeferrableVideos(Videos):
    """Everything openai's `videos` has, and `generate`, `edit`, `extend`, `wait`, `cancel` and `download`."""

    def generate(self, *, prompt: str | None = None, **params: Unpack[GenerateParams]) -> Video:
        """Ask for a video and return at once, with its id and the status `pending`.

        `image` is its first frame, `reference_images` show what it shall look like. With `wait_for_completion=True` it
        is returned when it is there, `timeout` (600) seconds later at most: takes and raises then what `Ticket.wait`
        does, with `progress=True` for a bar. `webhook_url`, `expires_in` and the others of `DeferOptions` go with any
        submit; a lost connection is retried without danger of a second video.
        """
        return self._submit("/videos/generations", {"prompt": prompt}, cast("dict[str, Any]", params))

    def edit(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, *, prompt: str, video: Input, **params: Unpack[ChangeParams]
    ) -> Video:
        """Change a video by an instruction. `video` is one that was made here (the object or its id), a path, bytes, an
        open file, a URL, a data URI, or the id of an uploaded file. Else as `generate`."""
        return self._submit("/videos/edits", {"prompt": prompt, "video": video}, cast("dict[str, Any]", params))

    def extend(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, *, video: Input, prompt: str | None = None, **params: Unpack[ChangeParams]
    ) -> Video:
        """Go on where a video ends, for `seconds` more; what comes back is all of it. Else as `edit`."""
        return self._submit("/videos/extensions", {"prompt": prompt, "video": video}, cast("dict[str, Any]", params))

    def retrieve(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, video_id: str, **options: Unpack[CallOptions]
    ) -> Video:
        """The video as it stands. `data[0].url`, once it is completed, can be followed without a key for a while; each
        read makes a new one."""
        return self._get(video_path(video_id), cast_to=Video, options=_request_options(options))

    def list(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        *,
        after: str | None = None,
        limit: int | None = None,
        order: Literal["asc", "desc"] | None = None,
        **options: Unpack[CallOptions],
    ) -> SyncConversationCursorPage[Video]:
        """Videos, newest first unless said otherwise; iterating fetches page after page, of `limit` each."""
        query = _request_options(options, after=after, limit=limit, order=order)
        page = SyncConversationCursorPage[Video]
        return self._get_api_list("/videos", page=page, options=query, model=Video)

    def delete(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, video_id: str | Video, **options: Unpack[CallOptions]
    ) -> VideoDeleteResponse:
        """Forget a video that has ended, and its file. What was made from it stays."""
        path, settings = video_path(_id(video_id)), _request_options(options)
        return self._delete(path, cast_to=VideoDeleteResponse, options=settings)

    def wait(self, video: str | Video, **patience: Unpack[BlockingWaitOptions]) -> Video:
        """Wait for a video that was submitted before, here or elsewhere. Takes and raises what `Ticket.wait` does."""
        ticket = Ticket(self._client, Request(id=_id(video)), Dialect.RAINCHECK, dict[str, Any])
        ticket.wait(**patience)
        return self.retrieve(ticket.id)

    def poll(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, video_id: str, *, poll_interval_ms: int | Omit = omit
    ) -> Video:
        """openai's helper, for videos in every dialect: the video once it has ended, however. It has no timeout."""
        with suppress(RequestEnded):
            self.wait(video_id, timeout=None, polling_interval=_seconds(poll_interval_ms))
        return self.retrieve(video_id)

    def cancel(self, video: str | Video) -> Video:
        """Cancel it: a pending one is never begun, a running one is stopped. Harmless on one that has ended."""
        return cancel(self._client, video_path(_id(video)), Video)

    def download(
        self, video: str | Video, to: str | PathLike[str] = ".", *, variant: Variant = "video", progress: bool = False
    ) -> Path:
        """Fetch the file and return where it is: `to`, or in that folder under the video's id. It appears when it is
        whole; a connection that breaks is taken up again where it broke. `variant` may be `thumbnail` or
        `spritesheet`. Raises openai's error while there is no such file."""
        return download(self._client, video_file(_id(video), variant), Path(to), progress=progress)

    def _submit(self, path: str, inputs: dict[str, Any], params: dict[str, Any]) -> Video:
        order = _Order.of(inputs, params)
        with settled(self._client, order.body) as body:
            response = self._client.post(path, body=body, cast_to=httpx2.Response, options={"headers": order.headers})
        video = _accepted(response)
        return self.wait(video, **cast("WaitOptions", order.patience)) if order.waits else video


class AsyncDeferrableVideos(AsyncVideos):
    async def generate(self, *, prompt: str | None = None, **params: Unpack[GenerateParams]) -> Video:
        return await self._submit("/videos/generations", {"prompt": prompt}, cast("dict[str, Any]", params))

    async def edit(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, *, prompt: str, video: Input, **params: Unpack[ChangeParams]
    ) -> Video:
        return await self._submit("/videos/edits", {"prompt": prompt, "video": video}, cast("dict[str, Any]", params))

    async def extend(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, *, video: Input, prompt: str | None = None, **params: Unpack[ChangeParams]
    ) -> Video:
        inputs = {"prompt": prompt, "video": video}
        return await self._submit("/videos/extensions", inputs, cast("dict[str, Any]", params))

    async def retrieve(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, video_id: str, **options: Unpack[CallOptions]
    ) -> Video:
        return await self._get(video_path(video_id), cast_to=Video, options=_request_options(options))

    def list(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        *,
        after: str | None = None,
        limit: int | None = None,
        order: Literal["asc", "desc"] | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncPaginator[Video, AsyncConversationCursorPage[Video]]:
        query = _request_options(options, after=after, limit=limit, order=order)
        page = AsyncConversationCursorPage[Video]
        return self._get_api_list("/videos", page=page, options=query, model=Video)

    async def delete(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, video_id: str | Video, **options: Unpack[CallOptions]
    ) -> VideoDeleteResponse:
        path, settings = video_path(_id(video_id)), _request_options(options)
        return await self._delete(path, cast_to=VideoDeleteResponse, options=settings)

    async def wait(self, video: str | Video, **patience: Unpack[WaitOptions]) -> Video:
        ticket = AsyncTicket(self._client, Request(id=_id(video)), Dialect.RAINCHECK, dict[str, Any])
        await ticket.wait(**patience)
        return await self.retrieve(ticket.id)

    async def poll(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, video_id: str, *, poll_interval_ms: int | Omit = omit
    ) -> Video:
        with suppress(RequestEnded):
            await self.wait(video_id, timeout=None, polling_interval=_seconds(poll_interval_ms))
        return await self.retrieve(video_id)

    async def cancel(self, video: str | Video) -> Video:
        return await acancel(self._client, video_path(_id(video)), Video)

    async def download(
        self, video: str | Video, to: str | PathLike[str] = ".", *, variant: Variant = "video", progress: bool = False
    ) -> Path:
        return await adownload(self._client, video_file(_id(video), variant), Path(to), progress=progress)

    async def _submit(self, path: str, inputs: dict[str, Any], params: dict[str, Any]) -> Video:
        order = _Order.of(inputs, params)
        async with asettled(self._client, order.body) as body:
            response = await self._client.post(
                path, body=body, cast_to=httpx2.Response, options={"headers": order.headers}
            )
        video = _accepted(response)
        return await self.wait(video, **cast("WaitOptions", order.patience)) if order.waits else video


share_docs(DeferrableVideos, AsyncDeferrableVideos)

_WAITING = frozenset(WaitOptions.__annotations__)


@dataclass(frozen=True, slots=True)
class _Order:
    """One call for a video: what is sent, and how it is waited for."""

    body: dict[str, Any]
    headers: dict[str, str]
    waits: bool
    patience: dict[str, Any]

    @classmethod
    def of(cls, inputs: Mapping[str, Any], params: Mapping[str, Any]) -> "_Order":
        rest = {**inputs, **params}
        waits = rest.pop("wait_for_completion", False)
        patience = {name: rest.pop(name) for name in _WAITING & rest.keys()}
        added = submission(rest, "respond-async")
        members = {name: value for name, value in added.params.items() if value is not None}
        extra, headers = members.pop("extra_body", {}), members.pop("extra_headers", {})
        return cls({**members, **added.body, **extra}, {**added.headers, **headers}, waits, patience)


def _accepted(response: httpx2.Response) -> Video:
    """Raises `NoRequestId` when the answer names none."""
    body = response.json()
    if not isinstance(body, dict) or not isinstance(cast("dict[str, Any]", body).get("id"), str):
        raise NoRequestId(response.content)
    return Video.construct(**cast("dict[str, Any]", body))


def _seconds(interval_ms: int | Omit) -> float:
    return 1.0 if isinstance(interval_ms, Omit) else interval_ms / 1_000


def _id(video: str | Video) -> str:
    return video if isinstance(video, str) else video.id


def _request_options(options: CallOptions, **query: object) -> RequestOptions:
    timeout: float | Timeout | NotGiven | None = options.get("timeout", not_given)
    return make_request_options(
        query={name: value for name, value in query.items() if value is not None},
        extra_headers=options.get("extra_headers"),
        extra_query=options.get("extra_query"),
        extra_body=options.get("extra_body"),
        timeout=timeout,
    )
