"""Takes what a function returned for a video, hands on the answer that every video has: facts, thumbnail, sheet."""

import asyncio

import msgspec

from raincheck.core.errors import MediaRefused
from raincheck.core.outcome import Made
from raincheck.core.videos import VideoAnswer
from raincheck.upstream.media.probe import Unread, facts
from raincheck.upstream.media.stills import stills
from raincheck.upstream.protocol import Work
from raincheck.upstream.python.files import Returned, Unwritable


class _Said(msgspec.Struct):
    """What a handler may say of its video itself; it need not."""

    model: str | None = None
    seconds: float | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    seed: int | None = None


async def finished(returned: Returned, work: Work) -> Returned:
    """The answer to a call for a video, with the stills among its files. Raises Unwritable when there is no video."""
    video = next((made for made in returned.made if made.content_type.startswith("video/")), None)
    if video is None:
        raise Unwritable(
            f"The handler must answer a {work.operation} with a video: return the path of one, as in job.folder / "
            "'video.mp4', or a dictionary that has it."
        )
    answer = VideoAnswer(model=work.model, usage=None if returned.usage is None else msgspec.Raw(returned.usage))
    said = _said(returned.body)
    changes = {name: value for name, value in (await _facts(video) | said).items() if value is not None}
    body = msgspec.json.encode(msgspec.structs.replace(answer, **changes))
    return Returned(body, returned.usage, returned.made + await _stills(video, returned.made, work))


def _said(body: bytes) -> dict[str, object]:
    try:
        said = msgspec.json.decode(body, type=_Said)
    except msgspec.ValidationError as error:
        raise Unwritable(f"What the handler says of its video cannot be used: {error}") from error
    return {name: value for name, value in msgspec.structs.asdict(said).items() if value is not None}


async def _facts(video: Made) -> dict[str, object]:
    try:
        found = await facts(video.path)
    except Unread:  # Nothing was found wrong with it; it could not be looked into here.
        return {}
    except MediaRefused as error:
        raise Unwritable(f"The handler returned {video.name}, and that is no whole video: {error}") from error
    if found is None:
        return {}
    return {"seconds": found.seconds, "width": found.width, "height": found.height, "fps": found.fps}


async def _stills(video: Made, made: tuple[Made, ...], work: Work) -> tuple[Made, ...]:
    """The stills, but for those the handler made itself."""
    taken = {each.name for each in made}
    folder = work.bench.folder / "stills"
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    return tuple(each for each in await stills(video.path, folder) if each.name not in taken)
