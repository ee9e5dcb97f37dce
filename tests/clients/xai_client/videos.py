"""Videos, made by the preview renderer."""

import urllib.request
from functools import cache
from typing import Any

from xai_sdk.proto import deferred_pb2
from xai_sdk.video import VideoGenerationError

from tests.clients.checks import Given, raises, until
from tests.clients.xai_client import CHECKS
from tests.clients.xai_client.asking import SOON

DONE, FAILED, PENDING = (getattr(deferred_pb2.DeferredStatus, name) for name in ("DONE", "FAILED", "PENDING"))
ONE_SECOND = {"model": "preview", "duration": 1}
A_WHILE = {"model": "preview", "duration": 60, "resolution": "1080p"}


@cache
def a_video(given: Given) -> Any:
    """One that is done, for checks of what comes after."""
    return generated(given)


def generated(given: Given, prompt: str = "A sunset", **options: Any) -> Any:
    return given.client.video.generate(prompt, **{**ONE_SECOND, **options}, interval=SOON)


def fetched(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read()


def ended(given: Given, request_id: str) -> Any:
    return until(lambda: given.client.video.get(request_id), lambda got: got.status != PENDING, every=0.05)


@CHECKS("video.generate")
def is_made(given: Given) -> None:
    video = a_video(given)
    assert (video.duration, video.respect_moderation, video.model) == (1, True, "preview")
    assert fetched(video.url)[4:8] == b"ftyp"


@CHECKS("video.generate (aspect_ratio, resolution)")
def has_a_shape(given: Given) -> None:
    assert generated(given, aspect_ratio="1:1", resolution="480p").url


@CHECKS("video.generate (image_url)")
def begins_with_a_picture(given: Given) -> None:
    assert generated(given, image_url=a_still()).url


@CHECKS("video.generate (video_url)")
def is_edited(given: Given) -> None:
    edit = given.client.video.generate("black and white", model="preview", video_url=a_video(given).url, interval=SOON)
    assert fetched(edit.url)[4:8] == b"ftyp"


@CHECKS("video.generate (video_file_id)")
def an_uploaded_one_is_edited(given: Given) -> None:
    uploaded = given.client.files.upload(fetched(a_video(given).url), filename="in.mp4")
    edit = given.client.video.generate("reverse", model="preview", video_file_id=uploaded.id, interval=SOON)
    assert edit.duration == 1


@CHECKS("video.generate of one that fails")
def a_failure_is_raised(given: Given) -> None:
    error = raises(VideoGenerationError, lambda: generated(given, duration=90))
    assert (error.code, "60" in error.message) == ("invalid_argument", True), error.code


@CHECKS("video.start, video.get")
def progress_is_told(given: Given) -> None:
    started = given.client.video.start("A storm, then a sunset", model="preview", duration=4)
    seen: list[int] = []
    while (got := given.client.video.get(started.request_id)).status == PENDING:
        seen.append(got.response.progress)
    assert (got.status, got.response.progress) == (DONE, 100)
    assert got.response.video.duration == 4
    assert seen == sorted(seen)
    assert any(0 < percent < 100 for percent in seen), seen


@CHECKS("video.get of one that was cancelled")
def a_cancelled_one_has_failed(given: Given) -> None:
    started = given.client.video.start("A storm", **A_WHILE)
    assert given.http("POST", f"/v1/requests/{started.request_id}/cancel", {})[0] == 200
    got = ended(given, started.request_id)
    assert (got.status, got.response.error.code) == (FAILED, "cancelled")


@CHECKS("video.extend")
def is_extended(given: Given) -> None:
    longer = given.client.video.extend(
        "A night", model="preview", video_url=a_video(given).url, duration=2, interval=SOON
    )
    assert longer.duration == 3, longer.duration


@CHECKS("video.extend_start")
def an_extension_is_started(given: Given) -> None:
    started = given.client.video.extend_start("A night", model="preview", video_url=a_video(given).url, duration=2)
    assert ended(given, started.request_id).status == DONE


def a_still() -> str:
    """A PNG of one colour, as a data URI."""
    import base64
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    side = 64
    rows = (b"\0" + bytes((200, 80, 40)) * side) * side
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(png).decode()
