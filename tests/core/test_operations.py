"""One name for a kind of work, whoever asks."""

import pytest

from raincheck.core.operations import operation_of


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("/chat/completions", "chat.completion"),
        ("/completions", "completion"),
        ("/embeddings", "embedding"),
        ("/responses", "response"),
        ("/images/generations", "image.generation"),
        ("/images/edits", "images.edits"),
        ("/videos", "video.generation"),
        ("/videos/generations", "video.generation"),
        ("/audio/speech", "audio.speech"),
        ("/rerank", "rerank"),
    ],
)
def test_the_path_tells_the_operation(path: str, operation: str) -> None:
    assert operation_of(path) == operation
