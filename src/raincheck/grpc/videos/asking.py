"""Takes a message that asks for a video, hands on the same call in the words of xAI's REST API: whatever comes in over
gRPC goes the way of a call over HTTP from there."""

from collections.abc import Mapping
from typing import Any

from raincheck.core.errors import BadInput
from raincheck.core.videos import ASPECT_RATIOS, RESOLUTIONS
from raincheck.grpc.fields import check_few, word_of
from raincheck.grpc.protos import image_pb2, video_pb2
from raincheck.intake.videos import MOST_REFERENCES

_ASPECT_RATIOS: Mapping[int, str] = {
    video_pb2.VideoAspectRatio.Value(f"VIDEO_ASPECT_RATIO_{ratio.replace(':', '_')}"): ratio for ratio in ASPECT_RATIOS
}
_RESOLUTIONS: Mapping[int, str] = {
    video_pb2.VideoResolution.Value(f"VIDEO_RESOLUTION_{resolution.upper()}"): resolution for resolution in RESOLUTIONS
}
_UNSERVED = frozenset({"last_frame", "keyframes"})
"""Pictures that no upstream is known to take in these words, and whose files and links only this server could read."""
VideoMessage = video_pb2.GenerateVideoRequest | video_pb2.ExtendVideoRequest


async def video_body(request: VideoMessage) -> tuple[str, dict[str, Any]]:
    """The URL that takes such a call over HTTP, and the members of its body. Raises BadInput."""
    _refuse_unserved(request)
    members: dict[str, Any] = {"prompt": request.prompt, **_named("model", request.model)}
    if request.HasField("duration"):
        members["duration"] = request.duration
    if request.HasField("video"):
        members["video"] = _source(request.video.url, request.video.file_id)
    if request.HasField("storage_options"):
        members["storage_options"] = _storage(request.storage_options)
    if isinstance(request, video_pb2.ExtendVideoRequest):
        return "/v1/videos/extensions", members
    members |= {**_shape(request), **_pictures(request), **_sound(request)}
    return "/v1/videos/edits" if "video" in members else "/v1/videos/generations", members


def _refuse_unserved(request: VideoMessage) -> None:
    for field, _ in request.ListFields():
        if field.name in _UNSERVED:
            raise BadInput(
                f"{field.name} is not served over gRPC, only the first frame (image) can be pinned: leave it out, or "
                "call POST /v1/videos/generations, which hands the upstream what it does not know itself.",
                param=field.name,
            )


def _shape(request: video_pb2.GenerateVideoRequest) -> dict[str, Any]:
    ratio, resolution = request.aspect_ratio, request.resolution
    return {
        **_named("aspect_ratio", word_of("aspect_ratio", ratio, _ASPECT_RATIOS)),
        **_named("resolution", word_of("resolution", resolution, _RESOLUTIONS)),
    }


def _pictures(request: video_pb2.GenerateVideoRequest) -> dict[str, Any]:
    pictures: dict[str, Any] = {}
    if request.HasField("image"):
        pictures["image"] = _picture(request.image)
    check_few("reference_images", request.reference_images, MOST_REFERENCES)
    if request.reference_images:
        pictures["reference_images"] = [_picture(each) for each in request.reference_images]
    return pictures


def _picture(content: image_pb2.ImageUrlContent) -> dict[str, str]:
    """Without its `detail`, which is for models that look at pictures."""
    return _source(content.image_url, content.file_id)


def _source(url: str, file_id: str) -> dict[str, str]:
    """Where an input is: a link, this server's own among them, a data URI or an uploaded file."""
    return {**_named("url", url), **_named("file_id", file_id)}


def _sound(request: video_pb2.GenerateVideoRequest) -> dict[str, Any]:
    """For the upstream to understand."""
    sound: dict[str, Any] = {}
    if request.HasField("generate_audio"):
        sound["generate_audio"] = request.generate_audio
    check_few("reference_audios", request.reference_audios, MOST_REFERENCES)
    if request.reference_audios:
        sound["reference_audios"] = [{"voice_id": each.voice_id} for each in request.reference_audios]
    return sound


def _storage(options: image_pb2.StorageOptions) -> dict[str, Any]:
    """For the upstream, which may store what it makes; here each video is kept anyway."""
    storage: dict[str, Any] = {"filename": options.filename}
    if options.HasField("expires_after"):
        storage["expires_after"] = options.expires_after
    if options.HasField("public_url"):
        public = options.public_url
        storage["public_url"] = {"expires_after": public.expires_after} if public.HasField("expires_after") else True
    return storage


def _named(name: str, text: str | None) -> dict[str, str]:
    return {name: text} if text else {}
