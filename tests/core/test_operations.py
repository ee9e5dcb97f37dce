"""One name for a kind of work, whoever asks."""

import pytest

from raincheck.core.operations import is_video, model_of, operation_of, queue_of


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("/chat/completions", "chat.completion"),
        ("/completions", "completion"),
        ("/embeddings", "embedding"),
        ("/responses", "response"),
        ("/images/generations", "image.generation"),
        ("/images/edits", "images.edits"),
        ("/videos/generations", "video.generation"),
        ("/videos/edits", "video.edit"),
        ("/videos/extensions", "video.extension"),
        ("/audio/speech", "audio.speech"),
        ("/rerank", "rerank"),
    ],
)
def test_the_path_tells_the_operation(path: str, operation: str) -> None:
    assert operation_of(path) == operation


@pytest.mark.parametrize("model", ["preview", "org/model", "a/video", "/video"])
def test_a_queue_tells_its_model_and_whether_it_is_for_videos(model: str) -> None:
    assert model_of(queue_of(model, "video.edit")) == (model, True)
    assert queue_of(model, "chat.completion") == model


def test_only_a_models_line_for_videos_is_one() -> None:
    assert model_of("preview") == ("preview", False)
    assert [is_video(operation) for operation in ("video.edit", "chat.completion")] == [True, False]
