"""OpenAI's videos API as its many servers speak it: forms in, job objects out, the file under `/content`.

Known differences: vLLM-Omni takes forms only, has no `/videos/edits` (a video is an `input_reference` there), and tells
of a failed job under the status of its error. SGLang's older servers take a form only with a file, and JSON else; where
it keeps files in a bucket, `/content` is refused and the job has a `url`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from raincheck.core.errors import BadInput, MediaRefused, UpstreamBroke
from raincheck.core.outcome import Failure, FailureKind, Made, RequestError
from raincheck.core.videos import SPRITESHEET, THUMBNAIL, Source, VideoAsk, dimensions
from raincheck.upstream.media.fetch import fetch
from raincheck.upstream.media.limits import MediaLimits
from raincheck.upstream.media.sniff import ending_of
from raincheck.upstream.protocol import Brought, Work
from raincheck.upstream.videos import job as said
from raincheck.upstream.videos import verdict
from raincheck.upstream.videos.download import Download, Elsewhere, Gone
from raincheck.upstream.videos.job import Job
from raincheck.upstream.videos.patience import NewPatience
from raincheck.upstream.videos.remote import Collected, Look, Over, job_path
from raincheck.upstream.videos.stages import stage_of
from raincheck.upstream.videos.wire import TROUBLE, Answer, JobWire

_LONGEST_POLL = 60.0
_LARGEST_STILL = 16 << 20
_PATHS = {"video.edit": "/videos/edits", "video.extension": "/videos/extensions"}
_CREATE = "/videos"

File = tuple[str, Brought]
"""A form field and the file it sends."""


class OpenAIVideos:
    """The dialect, and what one server turned out to understand of it."""

    deletes = True

    def __init__(self, name: str, wire: JobWire, *, limits: MediaLimits, largest: int, patience: NewPatience) -> None:
        self._name = name
        self._wire = wire
        self._limits = limits
        self._largest = largest
        self._patience = patience
        self._forms_need_files = False
        self._knows_edits = True

    async def prepare(self, work: Work, ask: VideoAsk) -> Callable[[], Awaitable[Answer]]:
        """Everything that was asked for as form fields, and its files brought here to be streamed."""
        fields = _fields(ask)
        path = _PATHS.get(work.operation, _CREATE)
        files = [(field, await work.bench.bring(source)) for field, source in _sources(ask, path)]

        async def create() -> Answer:
            return await self._create(path, fields, files)

        return create

    def read(self, answer: Answer) -> Job | None:
        members = answer.members()
        job_id = said.text(members, "id", "video_id", "request_id") or ""
        word = said.text(members, "status")
        if not job_id and word is None:
            return None
        return Job(
            id=job_id,
            stage=stage_of(word),
            word=word and word.replace("_", " "),
            progress=said.fraction(members),
            poll_after=_poll_after(answer.headers),
            model=said.text(members, "model"),
            seconds=said.number(members, "seconds"),
            size=said.text(members, "size"),
            usage=said.usage(members),
            url=said.text(members, "url"),
            body=answer.body,
        )

    async def collect(self, job: Job, folder: Path, _look: Look, /) -> Collected | Failure | Over:
        """Stream the content to disk; from another address when the server sends us there."""
        file = folder / "video"
        path = f"{job_path(job.id)}/content"
        found = await Download(self._wire, self._name, path, largest=self._largest, patience=self._patience).to(file)
        match found:
            case None:
                return Collected(file, await self._shown(job, folder))
            case Gone():
                return Over(verdict.lost(self._name))
            case Elsewhere(url=url):
                failure = await self._from_elsewhere(url, file)
                return failure or Collected(file, await self._shown(job, folder))
            case Failure(kind=FailureKind.REJECTED) if job.url is not None:
                failure = await self._from_elsewhere(job.url, file)
                return failure or Collected(file)
            case Failure():
                return found

    async def _shown(self, job: Job, folder: Path) -> tuple[Made, ...]:
        """Its thumbnail and spritesheet; most servers know of none, and hand out the video whatever is asked for."""
        made: list[Made] = []
        for variant, name in (("thumbnail", THUMBNAIL), ("spritesheet", SPRITESHEET)):
            if not await self._still(f"{job_path(job.id)}/content?variant={variant}", folder / name):
                break
            made.append(Made(name, folder / name, "image/webp"))
        return tuple(made)

    async def _create(self, path: str, fields: Mapping[str, Any], files: Sequence[File]) -> Answer:
        if path == "/videos/edits" and not self._knows_edits:
            return await self._create(_CREATE, fields, _as_references(files))
        if not files and self._forms_need_files:
            return await self._wire.post(path, msgspec.json.encode(fields))
        with ExitStack() as opened:
            answer = await self._wire.post(path, _form(fields, files, opened))
        if path == "/videos/edits" and _is_no_route(answer):
            self._knows_edits = False
        elif not files and answer.status in (400, 415, 422) and _wants_json(answer):
            self._forms_need_files = True
        else:
            return answer
        return await self._create(path, fields, files)

    async def _from_elsewhere(self, url: str, file: Path) -> Failure | None:
        try:
            await fetch(url, file, self._limits)
        except MediaRefused as error:
            return Failure(FailureKind.REJECTED, RequestError(error.message, code="remote_result_refused"))
        except UpstreamBroke as error:
            return Failure(FailureKind.TRANSIENT, RequestError(error.message, code=error.code))
        return None

    async def _still(self, path: str, file: Path) -> bool:
        """Whether the server has this picture, which then lies in the file. Without it the video is no worse."""
        try:
            async with self._wire.film(path) as response:
                if response.status != 200:
                    return False
                picture = bytearray()
                async for piece in response.content.iter_any():
                    picture += piece
                    if len(picture) > _LARGEST_STILL or (len(picture) >= 12 and not _is_webp(picture)):
                        return False
        except TROUBLE:
            return False
        if not _is_webp(picture):
            return False
        await asyncio.to_thread(file.write_bytes, picture)
        return True


def _fields(ask: VideoAsk) -> dict[str, Any]:
    """What was asked for, and nothing of what was left to the server."""
    fields: dict[str, Any] = dict(ask.extra)
    if ask.prompt:
        fields["prompt"] = ask.prompt
    fields["model"] = ask.model
    if ask.seconds is not None:
        fields["seconds"] = f"{ask.seconds:g}"
    if ask.size is not None or ask.aspect_ratio is not None or ask.resolution is not None:
        fields["size"] = "{}x{}".format(*dimensions(ask))
    if ask.seed is not None:
        fields["seed"] = ask.seed
    if ask.user is not None:
        fields["user"] = ask.user
    return fields


def _sources(ask: VideoAsk, path: str) -> list[tuple[str, Source]]:
    """Which file goes into which field. A new video may follow one reference: a picture, or another video."""
    if path != _CREATE:
        if ask.video is None:
            raise BadInput("This call needs a video.", param="video")
        return [("video", ask.video)]
    references = [source for source in (ask.image, *ask.reference_images, ask.video) if source is not None]
    if len(references) > 1:
        raise BadInput("The server that serves this model takes one reference picture or video.", param="image")
    return [("input_reference", source) for source in references]


def _as_references(files: Sequence[File]) -> list[File]:
    return [("input_reference", brought) for _, brought in files]


def _form(fields: Mapping[str, Any], files: Sequence[File], opened: ExitStack) -> aiohttp.FormData:
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in fields.items():
        form.add_field(name, _as_text(value))
    for name, brought in files:
        called = brought.path.stem + ending_of(brought.content_type)
        content = opened.enter_context(brought.path.open("rb"))
        form.add_field(name, content, filename=called, content_type=brought.content_type)
    return form


def _as_text(value: Any) -> str:
    """A form's fields are words: a JSON string's content, and everything else as JSON."""
    if isinstance(value, msgspec.Raw):
        value = msgspec.json.decode(value)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _poll_after(headers: Mapping[str, str]) -> float | None:
    try:
        asked = float(headers["openai-poll-after-ms"]) / 1000
    except (KeyError, ValueError):
        return None
    return min(asked, _LONGEST_POLL) if asked > 0 else None


def _is_no_route(answer: Answer) -> bool:
    """Whether the server has no such path at all; a model it does not know is a 404 as well, with an error object."""
    return answer.status == 405 or (answer.status == 404 and not answer.members().get("error"))


def _wants_json(answer: Answer) -> bool:
    return answer.status == 415 or b"input_reference" in answer.body


def _is_webp(start: bytes | bytearray) -> bool:
    return start[:4] == b"RIFF" and start[8:12] == b"WEBP"
