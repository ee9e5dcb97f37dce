"""Pictures as lines of batches: a message that asks for some to the same call in the words of xAI's REST API, and an
upstream's answer to the message that tells of it."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from raincheck.core.canonical import Canonical
from raincheck.core.errors import BadInput
from raincheck.grpc.call import Call
from raincheck.grpc.chat.inlining import Inlining
from raincheck.grpc.fields import check_few, word_of
from raincheck.grpc.problems import Ended, Problem
from raincheck.grpc.protos import image_pb2, usage_pb2
from raincheck.intake.videos import MOST_REFERENCES
from raincheck.upstream.media.sniff import HEAD, kind_of
from raincheck.upstream.openai.failures import NOT_JSON

REFUSED: Mapping[str, str] = {
    "storage_options": "nothing is put into files here; ask for the pictures as base64, or read them from their URLs"
}
"""Fields that nobody here could follow, and what to do instead."""
_FORMATS = {image_pb2.IMG_FORMAT_BASE64: "b64_json", image_pb2.IMG_FORMAT_URL: "url"}
_QUALITIES = {
    image_pb2.IMG_QUALITY_LOW: "low",
    image_pb2.IMG_QUALITY_MEDIUM: "medium",
    image_pb2.IMG_QUALITY_HIGH: "high",
}
_RESOLUTIONS = {image_pb2.IMG_RESOLUTION_1K: "1k", image_pb2.IMG_RESOLUTION_2K: "2k"}
_RATIO = "IMG_ASPECT_RATIO_"
_RATIOS = {
    number: name.removeprefix(_RATIO).lower().replace("19_5", "19.5").replace("_", ":")
    for name, number in image_pb2.ImageAspectRatio.items()
    if number
}
"""As in `16:9`, `19.5:9` and `auto`."""


async def image_body(call: Call, request: image_pb2.GenerateImageRequest) -> tuple[str, dict[str, Any]]:
    """The URL that takes such a call over HTTP, and the members of its body. Raises BadInput, NotFound for a file that
    is not this tenant's (G8), ScopeMissing for a caller who may read none, TooLarge."""
    for name, why in REFUSED.items():
        if request.HasField(name):
            raise BadInput(f"{name} cannot be served: {why}.", param=name)
    said: dict[str, Any] = {
        "model": request.model,
        "prompt": request.prompt,
        "n": request.n if request.HasField("n") else None,
        "user": request.user or None,
        "response_format": word_of("format", request.format, _FORMATS),
        "quality": word_of("quality", request.quality, _QUALITIES),
        "aspect_ratio": word_of("aspect_ratio", request.aspect_ratio, _RATIOS),
        "resolution": word_of("resolution", request.resolution, _RESOLUTIONS),
    }
    inlining = Inlining(call)
    if request.HasField("image"):
        said["image"] = await _picture(request.image, inlining, "image")
    check_few("images", request.images, MOST_REFERENCES)
    if request.images:
        said["images"] = [await _picture(each, inlining, f"images[{n}]") for n, each in enumerate(request.images)]
    url = "/v1/images/edits" if request.images or request.HasField("image") else "/v1/images/generations"
    return url, {name: value for name, value in said.items() if value is not None}


def image_response(body: bytes, model: str) -> image_pb2.ImageResponse:
    """What an upstream answered. Raises Ended for what holds no pictures."""
    try:
        told = msgspec.json.decode(body, type=_Pictures)
    except NOT_JSON:
        raise _no_pictures() from None
    images = [_generated(each) for each in told.data if each.url or each.b64_json]
    if not images:
        raise _no_pictures()
    return image_pb2.ImageResponse(images=images, model=told.model or model, usage=_usage(told.usage))


_Whole = Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
_Ticks = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class _Picture(msgspec.Struct):
    url: str | None = None
    b64_json: str | None = None


class _Pictures(msgspec.Struct):
    data: list[_Picture]
    model: str | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")


class _Usage(msgspec.Struct):
    """In OpenAI's words for pictures, and what xAI tells besides."""

    input_tokens: _Whole = 0
    output_tokens: _Whole = 0
    total_tokens: _Whole = 0
    cost_in_usd_ticks: _Ticks | None = None


def _usage(said: msgspec.Raw) -> usage_pb2.SamplingUsage:
    """As far as it can be told; an upstream may have said anything."""
    try:
        usage = msgspec.json.decode(said, type=_Usage | None) or _Usage()
    except NOT_JSON:
        usage = _Usage()
    return usage_pb2.SamplingUsage(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.total_tokens,
        cost_in_usd_ticks=usage.cost_in_usd_ticks,
    )


def _generated(picture: _Picture) -> image_pb2.GeneratedImage:
    if picture.url:
        return image_pb2.GeneratedImage(url=picture.url, respect_moderation=True)
    return image_pb2.GeneratedImage(base64=_data_uri(picture.b64_json or ""), respect_moderation=True)


def _data_uri(base64: str) -> str:
    """With a kind in front, which the SDK looks for: nothing else would be read as a picture."""
    if base64.startswith("data:"):
        return base64
    kind = next((kind for start, kind in _KINDS.items() if base64.startswith(start)), "image/jpeg")
    return f"data:{kind};base64,{base64}"


_KINDS = {"iVBORw0KGgo": "image/png", "UklGR": "image/webp", "R0lGOD": "image/gif"}
"""How pictures begin, as base64."""


async def _picture(content: image_pb2.ImageUrlContent, inlining: Inlining, param: str) -> dict[str, str]:
    """A picture to go by; an upstream cannot reach files that were uploaded here, so they go along."""
    match content.WhichOneof("source"):
        case "image_url" if content.image_url:
            url = content.image_url
        case "file_id":
            file = await inlining.uploaded(content.file_id, param)
            kind = kind_of(file.data[:HEAD]) or file.content_type
            url = f"data:{kind};base64,{b64encode(file.data).decode()}"
        case _:
            raise BadInput(f"{param} names no picture: set its image_url or its file_id.", param=param)
    return {"url": url, "type": "image_url"}


def _no_pictures() -> Ended:
    return Ended(Problem(Canonical.INTERNAL, "The upstream's answer held no pictures.", "upstream_broke"))
