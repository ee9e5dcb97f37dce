"""What kind of work a path asks for, and in which queue it waits."""

from collections.abc import Mapping

_NAMES: Mapping[str, str] = {
    "/chat/completions": "chat.completion",
    "/completions": "completion",
    "/embeddings": "embedding",
    "/responses": "response",
    "/images/generations": "image.generation",
    "/videos/generations": "video.generation",
    "/videos/edits": "video.edit",
    "/videos/extensions": "video.extension",
}
OPERATIONS = tuple(_NAMES.values())
"""Those with a name of their own; any other JSON POST path is one too."""
_VIDEO_LINE = "/video"


def operation_of(path: str) -> str:
    """The operation of a path below the base URL: `/chat/completions` is a `chat.completion`."""
    return _NAMES.get(path) or path.strip("/").replace("/", ".")


def is_video(operation: str) -> bool:
    """Whether its result is a video, and its upstream one that makes them."""
    return operation.startswith("video.")


def queue_of(model: str, operation: str) -> str:
    """Where it waits: a queue is a model, or a model's line for videos, as in `preview/video`.

    One upstream may chat and another render under the same name; what waits for one must not be handed to the other.
    """
    return model + _VIDEO_LINE if is_video(operation) else model


def model_of(queue: str) -> tuple[str, bool]:
    """The model that a queue is for, and whether it is its line for videos."""
    model, line, rest = queue.rpartition(_VIDEO_LINE)
    return (model, True) if line and not rest else (queue, False)
