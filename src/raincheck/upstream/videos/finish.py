"""From a video that was fetched to the Reply: what it is, what can be measured of it, and small pictures of it."""

import asyncio
from pathlib import Path

import msgspec

from raincheck.core.errors import MediaRefused
from raincheck.core.outcome import Failure, Made, Reply
from raincheck.core.videos import VIDEO, VideoAnswer, VideoAsk
from raincheck.upstream.media.probe import Unread, facts
from raincheck.upstream.media.sniff import ending_of, head_of, kind_of
from raincheck.upstream.media.stills import stills
from raincheck.upstream.openai import failures
from raincheck.upstream.videos.job import Job


async def reply(name: str, ask: VideoAsk, job: Job, video: Path, shown: tuple[Made, ...]) -> Reply | Failure:
    """`shown`: the small pictures that the server itself had; unless it had both, they are made here."""
    content_type = kind_of(await asyncio.to_thread(head_of, video))
    if content_type is None or not content_type.startswith(("video/", "image/gif")):
        found = content_type or "no known kind of file"
        return failures.transient(name, "upstream_not_video", f"handed out {found} where a video should be.")
    try:
        measured = await facts(video)
    except Unread:
        measured = None  # Somebody may have paid for it: it is not given up for an ffmpeg that does not work here.
    except MediaRefused as error:
        return failures.transient(name, "upstream_not_video", f"handed out no sound video: {error.message}")
    width, height = _told(job.size)
    answer = VideoAnswer(
        model=job.model or ask.model,
        seconds=measured.seconds if measured else job.seconds,
        width=measured.width if measured else width,
        height=measured.height if measured else height,
        fps=measured.fps if measured else None,
        seed=ask.seed,
        usage=job.usage,
    )
    pictures = shown if len(shown) == 2 else await stills(video, video.parent) or shown
    made = (Made(_called(content_type), video, content_type), *pictures)
    return Reply(msgspec.json.encode(answer), usage=None if job.usage is None else bytes(job.usage), made=made)


def _called(content_type: str) -> str:
    stem = VIDEO.partition(".")[0]
    return VIDEO if content_type == "video/mp4" else stem + ending_of(content_type)


def _told(size: str | None) -> tuple[int | None, int | None]:
    width, by, height = (size or "").partition("x")
    return (int(width), int(height)) if by and width.isdecimal() and height.isdecimal() else (None, None)
