"""Videos, made by the preview renderer."""

from functools import cache
from io import BytesIO
from typing import Any

import openai

from tests.clients.checks import Given, raises, until
from tests.clients.openai_client import CHECKS

SIZE = "128x128"


def start(given: Given, prompt: str = "A sunset", **options: Any) -> Any:
    return given.client.videos.create(**{"model": "preview", "prompt": prompt, "seconds": "1", "size": SIZE, **options})


def cancel(given: Given, *video_ids: str) -> None:
    for video_id in video_ids:
        given.client.post(f"/videos/{video_id}/cancel", cast_to=object)


@cache
def a_video(given: Given) -> Any:
    """One that is done, for checks of what comes after."""
    return given.client.videos.poll(start(given).id)


def content(given: Given, video_id: str, **options: Any) -> bytes:
    return given.client.videos.download_content(video_id, **options).content


def an_mp4(data: bytes) -> bool:
    return data[4:8] == b"ftyp"


@CHECKS("videos.create")
def is_started(given: Given) -> None:
    video = start(given)
    assert (video.id[:6], video.object, video.status, video.progress) == ("video_", "video", "queued", 0)
    assert (video.seconds, video.size, video.prompt, video.error) == ("1", SIZE, "A sunset", None)
    cancel(given, video.id)


@CHECKS("videos.create_and_poll")
def is_made(given: Given) -> None:
    video = given.client.videos.create_and_poll(model="preview", prompt="A storm", seconds="1", size=SIZE)
    assert (video.status, video.progress, video.seconds) == ("completed", 100, "1")
    assert video.expires_at > video.completed_at


@CHECKS("videos.create (input_reference)")
def begins_with_a_picture(given: Given) -> None:
    still = content(given, a_video(given).id, variant="thumbnail")
    video = start(given, input_reference=("first.webp", BytesIO(still), "image/webp"))
    assert given.client.videos.poll(video.id).status == "completed"


@CHECKS("videos.poll")
def a_failure_is_told(given: Given) -> None:
    video = start(given, "A sunset", seconds="61")
    ended = given.client.videos.poll(video.id)
    assert (ended.status, ended.error.code) == ("failed", "preview_limit")


@CHECKS("videos.retrieve")
def is_retrieved(given: Given) -> None:
    video = start(given)
    ended = until(lambda: given.client.videos.retrieve(video.id), lambda one: one.status == "completed")
    assert (ended.id, ended.progress) == (video.id, 100)


@CHECKS("videos.list")
def are_listed_by_page(given: Given) -> None:
    ids = [start(given).id for _ in range(3)]
    listed = [video.id for video in given.client.videos.list(limit=2)]
    cancel(given, *ids)
    assert [video for video in listed if video in ids] == ids[::-1]


@CHECKS("videos.download_content")
def is_downloaded(given: Given) -> None:
    assert an_mp4(content(given, a_video(given).id))


@CHECKS("videos.download_content (variant)")
def pictures_are_downloaded(given: Given) -> None:
    for variant in ("thumbnail", "spritesheet"):
        assert content(given, a_video(given).id, variant=variant)[8:12] == b"WEBP"


@CHECKS("videos.download_content before the end")
def is_not_there_yet(given: Given) -> None:
    video = start(given, seconds="60", size="1280x720")
    refused = raises(openai.ConflictError, lambda: content(given, video.id))
    assert (refused.code, refused.response.headers["x-should-retry"]) == ("not_ended", "false")
    cancel(given, video.id)


@CHECKS("videos.with_streaming_response.download_content")
def is_downloaded_in_pieces(given: Given) -> None:
    with given.client.videos.with_streaming_response.download_content(a_video(given).id) as streamed:
        assert an_mp4(b"".join(streamed.iter_bytes()))


@CHECKS("videos.remix")
def is_remixed(given: Given) -> None:
    first = a_video(given)
    remix = given.client.videos.remix(first.id, prompt="A forest")
    assert (remix.remixed_from_video_id, remix.size, remix.seconds) == (first.id, first.size, first.seconds)
    assert given.client.videos.poll(remix.id).status == "completed"


@CHECKS("videos.edit", needs="videos.edit")
def is_edited(given: Given) -> None:
    data = content(given, a_video(given).id)
    edit = given.client.videos.edit(prompt="black and white", video=("in.mp4", BytesIO(data), "video/mp4"))
    assert given.client.videos.poll(edit.id).status == "completed"


@CHECKS("videos.extend", needs="videos.extend")
def is_extended(given: Given) -> None:
    data = content(given, a_video(given).id)
    longer = given.client.videos.extend(prompt="A night", seconds="1", video=("in.mp4", BytesIO(data), "video/mp4"))
    assert given.client.videos.poll(longer.id).status == "completed"


@CHECKS("videos.delete")
def is_deleted(given: Given) -> None:
    video = given.client.videos.poll(start(given).id)
    assert given.client.videos.delete(video.id).deleted is True
    raises(openai.NotFoundError, lambda: given.client.videos.retrieve(video.id))


@CHECKS('post("/videos/…/cancel")')
def is_cancelled(given: Given) -> str:
    video = start(given, seconds="60", size="1280x720")
    cancel(given, video.id)
    ended = given.client.videos.poll(video.id)
    assert (ended.status, ended.error.code) == ("failed", "cancelled")
    return "more than the hosted service has; the status is `failed`, with the code `cancelled`"


@CHECKS("videos.create_character", needs="videos.create_character")
def has_no_characters(given: Given) -> str:
    data = content(given, a_video(given).id)
    create = given.client.videos.create_character
    raises(openai.NotFoundError, lambda: create(name="Ada", video=("in.mp4", BytesIO(data), "video/mp4")))
    return "404: there are no characters"
