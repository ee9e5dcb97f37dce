"""Takes a video as it stands (Seen), hands on the messages that tell of it."""

from collections.abc import Mapping

import msgspec

from raincheck.grpc.chat.answering import usage_of
from raincheck.grpc.protos import deferred_pb2, video_pb2
from raincheck.intake.seen import Seen
from raincheck.intake.seen_by_xai import State, film_of, state_of, why_failed

_STATUS: Mapping[State, deferred_pb2.DeferredStatus] = {
    State.PENDING: deferred_pb2.PENDING,
    State.DONE: deferred_pb2.DONE,
    State.FAILED: deferred_pb2.FAILED,
    State.EXPIRED: deferred_pb2.EXPIRED,
}


def deferred_response(seen: Seen) -> video_pb2.GetDeferredVideoResponse:
    """What a status read tells."""
    return video_pb2.GetDeferredVideoResponse(status=_STATUS[state_of(seen)], response=video_response(seen))


def video_response(seen: Seen) -> video_pb2.VideoResponse:
    """As much of a video as there is: how far it has come, the finished film, or why there is none."""
    response = video_pb2.VideoResponse(model=seen.request.model, progress=seen.percent)
    state = state_of(seen)
    if state is State.FAILED:
        why = why_failed(seen.request)
        response.error.CopyFrom(video_pb2.VideoError(code=why.code, message=why.message))
    if state is State.DONE and (film := film_of(seen)) is not None:
        video = video_pb2.GeneratedVideo(
            url=film.url, duration=film.duration, respect_moderation=film.respect_moderation
        )
        response.video.CopyFrom(video)
        if seen.request.usage is not None:
            response.usage.CopyFrom(usage_of(msgspec.json.decode(seen.request.usage)))
    return response
