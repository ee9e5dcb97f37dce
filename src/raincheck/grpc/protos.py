"""xAI's messages, out of the wheel of its own SDK: the only place that imports them.

Two sets of the same messages cannot live in one process, so a program that uses the SDK and this server has to share
these. Importing them takes most of a second: nothing imports this but what needs a gRPC port.
"""

from xai_sdk.proto import (
    auth_pb2,
    batch_pb2,
    chat_pb2,
    deferred_pb2,
    files_pb2,
    image_pb2,
    models_pb2,
    sample_pb2,
    shared_pb2,
    usage_pb2,
    video_pb2,
)

__all__ = [
    "auth_pb2",
    "batch_pb2",
    "chat_pb2",
    "deferred_pb2",
    "files_pb2",
    "image_pb2",
    "models_pb2",
    "sample_pb2",
    "shared_pb2",
    "usage_pb2",
    "video_pb2",
]
