"""PreviewUpstream: takes work on videos, has a child process render it, hands on the files or why there are none."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import assert_never

import msgspec

from raincheck.core.clock import SECOND
from raincheck.core.configuration import lacks_to_draw
from raincheck.core.errors import BadInput, RaincheckError, SettingsInvalid
from raincheck.core.outcome import Failure, FailureKind, Made, Reply, RequestError, UpstreamError, envelope
from raincheck.core.videos import VideoAnswer, VideoAsk
from raincheck.upstream.media.room import is_full
from raincheck.upstream.media.stills import stills
from raincheck.upstream.preview.editing.grammar import NotUnderstood
from raincheck.upstream.preview.job import Cut, Done, NoRoom, Progress, Refused
from raincheck.upstream.preview.orders import BeyondPreview, Order, order
from raincheck.upstream.preview.process import Crashed, render
from raincheck.upstream.protocol import Relayed, Report, Takes, Work, whole

MODEL = "preview"
_FULL_FOR = 60 * SECOND
"""Microseconds between attempts on a full disk, which somebody has to clear first."""


class PreviewUpstream:
    """The embedded renderer: procedural previews, honest about what they are.

    Every attempt is a child process of its own at low priority, gone with its ffmpeg when the attempt is cancelled or
    this process dies. The same seed and prompt give the same file.
    """

    def __init__(self, name: str = "preview") -> None:
        self.name = name

    @property
    def takes(self) -> Takes:
        return Takes.VIDEOS

    async def start(self) -> None:
        """Raises SettingsInvalid when what it draws with is not installed."""
        if lacks := lacks_to_draw():
            raise SettingsInvalid(
                f"The upstream {self.name!r} of kind preview needs {', '.join(lacks)}: "
                'pip install "raincheck[preview]", or leave this upstream out.'
            )

    async def close(self) -> None:
        """Nothing outlives an attempt."""

    async def probe(self) -> frozenset[str]:
        return frozenset({MODEL})

    async def perform(self, work: Work, report: Report) -> Reply | Failure:
        try:
            return await self._perform(work, report)
        except OSError as error:
            if not is_full(error):
                raise
            return self._no_room()

    async def abandon(self, remote_id: str) -> None:
        """There are no remote jobs."""

    @asynccontextmanager
    async def relay(self, path: str, payload: bytes) -> AsyncGenerator[Relayed]:  # noqa: ARG002 - the seam's
        """Refuses: a video takes longer than anybody should wait with an open call."""
        message = "The preview renderer only makes videos, and those only as deferred requests: POST /v1/videos."
        yield whole(400, envelope(self._failure(FailureKind.REJECTED, message, "videos_are_deferred").error))

    async def _perform(self, work: Work, report: Report) -> Reply | Failure:
        try:
            ask = msgspec.json.decode(work.payload, type=VideoAsk)
        except msgspec.DecodeError as error:
            return self._failure(FailureKind.REJECTED, f"This is no call for a video: {error}", "invalid_request")
        try:
            given = await order(work, ask)
        except NotUnderstood as error:
            return self._failure(FailureKind.REJECTED, str(error), "edit_not_understood", "prompt")
        except BeyondPreview as error:
            return self._failure(FailureKind.REJECTED, str(error), "preview_limit", error.param)
        except BadInput as error:
            return self._failure(FailureKind.REJECTED, error.message, error.code, error.param)
        except RaincheckError as error:
            return self._failure(FailureKind.TRANSIENT, error.message, error.code)
        return await self._render(work, given, report)

    async def _render(self, work: Work, given: Order, report: Report) -> Reply | Failure:
        folder = work.bench.folder

        def tell(progress: Progress) -> None:
            report.progress(progress.fraction, progress.words)

        try:
            end = await render(given.job, folder, tell)
        except Crashed as error:
            return self._failure(FailureKind.TRANSIENT, str(error), "renderer_crashed")
        match end:
            case Refused(message, code, param):
                return self._failure(FailureKind.REJECTED, message, code, param)
            case NoRoom():
                return self._no_room()
            case Done():
                return await self._reply(given, end, folder, report)
            case _:
                assert_never(end)

    async def _reply(self, given: Order, done: Done, folder: Path, report: Report) -> Reply:
        report.progress(0.99, "making stills")
        video = folder / given.job.to
        answer = VideoAnswer(
            model=MODEL,
            seconds=round(done.frames / given.fps, 3),
            width=given.width,
            height=given.height,
            fps=round(given.fps, 3),
            seed=None if isinstance(given.job, Cut) else done.seed,
        )
        made = (Made(given.job.to, video, "video/mp4"), *await stills(video, folder))
        return Reply(msgspec.json.encode(answer), made=made)

    def _no_room(self) -> Failure:
        message = "There is no space left in the scratch folder."
        return replace(self._failure(FailureKind.TRANSIENT, message, "scratch_full"), retry_after=_FULL_FOR)

    def _failure(self, kind: FailureKind, message: str, code: str, param: str | None = None) -> Failure:
        refused = kind is FailureKind.REJECTED
        said = UpstreamError(self.name, 400 if refused else None)
        type_ = "invalid_request_error" if refused else "server_error"
        return Failure(kind, RequestError(message, type_, code, param, said))
