"""xAI's video API: JSON in, a request id out, a link to the video when it is done."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import msgspec

from raincheck.core.errors import BadInput, MediaRefused, UpstreamBroke
from raincheck.core.outcome import Failure, FailureKind, RequestError, UpstreamError
from raincheck.core.videos import ASPECT_RATIOS, RESOLUTIONS, AspectRatio, Resolution, Source, VideoAsk, dimensions
from raincheck.upstream.media.fetch import fetch
from raincheck.upstream.media.limits import MediaLimits
from raincheck.upstream.protocol import Bench, Work
from raincheck.upstream.videos import job as said
from raincheck.upstream.videos.job import Job
from raincheck.upstream.videos.patience import NewPatience
from raincheck.upstream.videos.remote import Collected, Look, Over
from raincheck.upstream.videos.stages import stage_of
from raincheck.upstream.videos.wire import Answer, JobWire

LARGEST_INLINE = 32 << 20
"""Bytes of an input that are sent inside the call, as there is no other way to hand them over."""
_PATHS = {"video.edit": "/videos/edits", "video.extension": "/videos/extensions"}
_LINKS = 3
"""How many links to a result are tried; each is asked for anew."""


class XaiVideos:
    """The dialect."""

    deletes = False

    def __init__(self, name: str, wire: JobWire, *, limits: MediaLimits, patience: NewPatience) -> None:
        self._name = name
        self._wire = wire
        self._limits = limits
        self._patience = patience

    async def prepare(self, work: Work, ask: VideoAsk) -> Callable[[], Awaitable[Answer]]:
        """The call as JSON; inputs are passed on as links where they are some, and else inside it."""
        body = msgspec.json.encode(_members(work.operation, ask) | await _inputs(ask, work.bench))
        path = _PATHS.get(work.operation, "/videos/generations")

        async def create() -> Answer:
            return await self._wire.post(path, body)

        return create

    def read(self, answer: Answer) -> Job | None:
        members = answer.members()
        job_id = said.text(members, "request_id", "id") or ""
        word = said.text(members, "status")
        if not job_id and word is None and answer.status != 202:  # While it waits it may say nothing at all.
            return None
        inside = members.get("video")
        video = cast("dict[str, Any]", inside) if isinstance(inside, dict) else {}
        return Job(
            id=job_id,
            stage=stage_of(word),
            word=word,
            progress=said.fraction(members),
            model=said.text(members, "model"),
            seconds=said.number(video, "duration"),
            usage=said.usage(members),
            url=said.text(video, "url"),
            refused="made the video and withholds it: it did not pass moderation."
            if video.get("respect_moderation") is False
            else None,
            body=answer.body,
        )

    async def collect(self, job: Job, folder: Path, look: Look, /) -> Collected | Failure | Over:
        """Fetch the result's link, under the guard for links that others name; an expired one is asked for anew."""
        file, refusal = folder / "video", "it gave no link"
        for _ in range(_LINKS):
            if job.url is not None:
                try:
                    return await self._fetch(job.url, file)
                except MediaRefused as error:
                    refusal = error.message
            again = await look()
            if not isinstance(again, Job):
                return again
            job = again
        message = f"The upstream {self._name!r} made the video, which cannot be fetched: {refusal}"
        error = RequestError(message, code="remote_result_refused", upstream=UpstreamError(self._name))
        return Failure(FailureKind.REJECTED, error)

    async def _fetch(self, url: str, file: Path) -> Collected | Failure:
        patience = self._patience()
        while True:
            try:
                await fetch(url, file, self._limits)
            except UpstreamBroke as error:
                pause = patience.pause()
                if pause is None:
                    return Failure(FailureKind.TRANSIENT, RequestError(error.message, code=error.code))
                await asyncio.sleep(pause)
            else:
                return Collected(file)


def _members(operation: str, ask: VideoAsk) -> dict[str, Any]:
    members: dict[str, Any] = dict(ask.extra) | {"model": ask.model, "prompt": ask.prompt}
    if ask.seconds is not None and operation != "video.edit":
        members["duration"] = int(ask.seconds) if ask.seconds == int(ask.seconds) else ask.seconds
    if operation == "video.generation":
        ratio, resolution = _shape(ask)
        members |= {"aspect_ratio": ratio} if ratio else {}
        members |= {"resolution": resolution} if resolution else {}
    if ask.seed is not None:
        members["seed"] = ask.seed
    if ask.user is not None:
        members["user"] = ask.user
    return members


def _shape(ask: VideoAsk) -> tuple[AspectRatio | None, Resolution | None]:
    """What was asked for; of a size in pixels, the ratio and the resolution that come nearest."""
    if ask.size is None:
        return ask.aspect_ratio, ask.resolution
    width, height = dimensions(ask)
    ratio = min(ASPECT_RATIOS, key=lambda known: abs(_across(known) - width / height))
    resolution = min(RESOLUTIONS, key=lambda known: abs(int(known.removesuffix("p")) - min(width, height)))
    return ratio, resolution


def _across(ratio: AspectRatio) -> float:
    width, height = ratio.split(":")
    return int(width) / int(height)


async def _inputs(ask: VideoAsk, bench: Bench) -> dict[str, Any]:
    inputs: dict[str, Any] = {}
    if ask.image is not None:
        inputs["image"] = {"url": await _link(ask.image, bench, "image")}
    if ask.reference_images:
        links = [await _link(source, bench, "reference_images") for source in ask.reference_images]
        inputs["reference_images"] = [{"url": link} for link in links]
    if ask.video is not None:
        inputs["video"] = {"url": await _link(ask.video, bench, "video")}
    return inputs


async def _link(source: Source, bench: Bench, param: str) -> str:
    """The link as it is, for the server fetches it itself; a data URI for bytes that lie here."""
    if source.url is not None:
        return source.url
    brought = await bench.bring(source)
    if brought.size > LARGEST_INLINE:
        raise BadInput(
            f"This file has {brought.size >> 20} MiB, and the server that serves this model is handed at most "
            f"{LARGEST_INLINE >> 20} MiB inside a call; give it a public link instead.",
            param=param,
        )
    data = await asyncio.to_thread(brought.path.read_bytes)
    return f"data:{brought.content_type};base64,{base64.b64encode(data).decode()}"
