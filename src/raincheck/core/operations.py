"""What kind of work a path asks for."""

from collections.abc import Mapping

_NAMES: Mapping[str, str] = {
    "/chat/completions": "chat.completion",
    "/completions": "completion",
    "/embeddings": "embedding",
    "/responses": "response",
    "/images/generations": "image.generation",
}


def operation_of(path: str) -> str:
    """The operation of a path below the base URL: `/chat/completions` is a `chat.completion`."""
    if (known := _NAMES.get(path)) is not None:
        return known
    if path == "/videos" or path.startswith("/videos/"):
        return "video.generation"
    return path.strip("/").replace("/", ".")
