"""Every field of the messages that ask for videos: what becomes of it; and what answers tell of odd results."""

from typing import Any

import pytest

from raincheck.core.errors import BadInput
from raincheck.grpc.protos import video_pb2
from raincheck.grpc.videos.asking import VideoMessage, video_body

LINK, FILE = {"url": "https://h/v.mp4"}, {"file_id": "file-1"}
STORED = {"filename": "f.mp4", "expires_after": 3600, "public_url": {"expires_after": 60}}

SAID: list[tuple[str, object, dict[str, Any]]] = [
    ("prompt", "A cat", {"prompt": "A cat"}),
    ("model", "m", {"model": "m"}),
    ("duration", 5, {"duration": 5}),
    ("video", LINK, {"video": LINK}),
    ("video", FILE, {"video": FILE}),
    ("storage_options", STORED, {"storage_options": STORED}),
    (
        "storage_options",
        {"filename": "f.mp4", "public_url": {}},
        {"storage_options": {"filename": "f.mp4", "public_url": True}},
    ),
]
"""A field, what it is set to, and the members that come of it."""
SAID_OF_GENERATIONS: list[tuple[str, object, dict[str, Any]]] = [
    *SAID,
    ("image", {"image_url": "data:,", "detail": 3}, {"image": {"url": "data:,"}}),
    ("image", FILE, {"image": FILE}),
    ("reference_images", [{"image_url": "https://h/a"}, FILE], {"reference_images": [{"url": "https://h/a"}, FILE]}),
    *[
        ("aspect_ratio", f"VIDEO_ASPECT_RATIO_{ratio.replace(':', '_')}", {"aspect_ratio": ratio})
        for ratio in ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3")
    ],
    ("aspect_ratio", 0, {}),
    *[("resolution", f"VIDEO_RESOLUTION_{word.upper()}", {"resolution": word}) for word in ("480p", "720p", "1080p")],
    ("resolution", 0, {}),
    ("generate_audio", False, {"generate_audio": False}),
    ("generate_audio", True, {"generate_audio": True}),
    ("reference_audios", [{"voice_id": "ara"}], {"reference_audios": [{"voice_id": "ara"}]}),
]
REFUSED: list[tuple[str, object]] = [
    ("last_frame", {"image_url": "https://h/a"}),
    ("last_frame", {}),
    ("keyframes", [{"timestamp_s": 1.0}]),
    ("reference_images", [{"image_url": "https://h/a"}] * 17),
    ("reference_audios", [{"voice_id": "ara"}] * 17),
    ("aspect_ratio", 99),
    ("resolution", 99),
]


@pytest.mark.parametrize(("field", "value", "members"), SAID_OF_GENERATIONS)
async def test_a_field_of_a_generation_becomes_members(field: str, value: object, members: dict[str, Any]) -> None:
    url, body = await video_body(generation(**{field: value}))
    assert url == ("/v1/videos/edits" if field == "video" else "/v1/videos/generations")
    assert body == {"prompt": ""} | members


@pytest.mark.parametrize(("field", "value", "members"), SAID)
async def test_a_field_of_an_extension_becomes_members(field: str, value: object, members: dict[str, Any]) -> None:
    url, body = await video_body(extension(**{field: value}))
    assert (url, body) == ("/v1/videos/extensions", {"prompt": ""} | members)


@pytest.mark.parametrize(("field", "value"), REFUSED)
async def test_what_nobody_could_carry_out_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(BadInput, match=field) as caught:
        await video_body(generation(**{field: value}))
    assert caught.value.param == field


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (video_pb2.GenerateVideoRequest, [*SAID_OF_GENERATIONS, *REFUSED]),
        (video_pb2.ExtendVideoRequest, SAID),
    ],
)
def test_each_field_there_is_is_told_of(message: type[VideoMessage], told: list[tuple[Any, ...]]) -> None:
    assert set(message.DESCRIPTOR.fields_by_name) == {field for field, *_ in told}


def generation(**fields: Any) -> video_pb2.GenerateVideoRequest:
    return video_pb2.GenerateVideoRequest(**fields)


def extension(**fields: Any) -> video_pb2.ExtendVideoRequest:
    return video_pb2.ExtendVideoRequest(**fields)
