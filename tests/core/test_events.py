"""What events are called: by the API that the work came by, and so that Standard Webhooks can carry it."""

import re

import pytest

from raincheck.core.batches import BatchStatus
from raincheck.core.events import event_type, known_types, meant, moment_type, unknown_type
from raincheck.core.operations import OPERATIONS
from raincheck.core.status import FINAL, Status

NATIVE = [
    ("chat.completion", Status.COMPLETED, "req_1", "chat.completion.completed"),
    ("chat.completion", Status.EXPIRED, "req_1", "chat.completion.expired"),
    ("video.generation", Status.CANCELLED, "video_gen_1", "video.generation.cancelled"),
    ("video.edit", Status.COMPLETED, "0199a3c2-f4b8-7d3e-9a51-c0de5f00ba47", "video.edit.completed"),
    ("batch", BatchStatus.EXPIRED, "", "batch.expired"),
]
OPENAI = [
    ("video.generation", Status.COMPLETED, "video_1", "video.completed"),
    ("video.edit", Status.FAILED, "video_1", "video.failed"),
    ("video.generation", Status.CANCELLED, "video_1", "video.failed"),
    ("response", Status.COMPLETED, "resp_1", "response.completed"),
    ("response", Status.EXPIRED, "resp_1", "response.failed"),
    ("response", Status.CANCELLED, "resp_1", "response.cancelled"),
    ("response", Status.EXPIRED, "req_1", "response.failed"),
]


@pytest.mark.parametrize(("what", "status", "of", "name"), [*NATIVE, *OPENAI])
def test_an_end_is_called_as_its_api_calls_it(what: str, status: Status | BatchStatus, of: str, name: str) -> None:
    assert event_type(what, status, of=of) == name


def test_a_response_that_stopped_early_is_incomplete_and_nothing_else_is() -> None:
    for request_id in ("resp_1", "req_1"):
        assert event_type("response", Status.COMPLETED, incomplete=True, of=request_id) == "response.incomplete"
    assert event_type("chat.completion", Status.COMPLETED, incomplete=True, of="req_1") == "chat.completion.completed"


def test_a_path_of_any_letters_makes_a_type_that_standard_webhooks_can_carry() -> None:
    for name in (
        event_type("contact-sheets.é~x", Status.FAILED),
        moment_type("contact-sheets", "progress", of="req_1"),
    ):
        assert re.fullmatch(r"[a-zA-Z0-9_.]+", name)
    assert unknown_type(["contact_sheets.progress"]) is None


@pytest.mark.parametrize("operation", [*OPERATIONS, "audio.speech", "batch"])
@pytest.mark.parametrize("prefix", ["req", "resp", "video", "video_gen"])
def test_what_an_end_is_called_can_be_subscribed_to(operation: str, prefix: str) -> None:
    for status in FINAL:
        for incomplete in (False, True):
            assert unknown_type([event_type(operation, status, incomplete=incomplete, of=f"{prefix}_1")]) is None


def test_every_name_that_may_come_can_be_subscribed_to_and_a_slip_cannot() -> None:
    assert unknown_type(["*", *known_types(), "audio.speech.completed", "fine_tuning.job.failed"]) is None
    for slip in ("video.done", "completed", "batch.progressing", "response.expired", "chat-completion.completed", ""):
        assert unknown_type(["video.completed", slip]) == slip


@pytest.mark.parametrize(
    ("slip", "right"),
    [
        ("chat.completions.completed", "chat.completion.completed"),
        ("videos.completed", "video.completed"),
        ("batches.completed", "batch.completed"),
        ("responses.progress", "response.progress"),
        ("embeddings.failed", "embedding.failed"),
        ("video.generations.completed", "video.generation.completed"),
        ("videos.generations.completed", "video.generation.completed"),
        ("videos.cancelled", None),
    ],
)
def test_a_path_with_dots_is_no_type_and_the_type_that_was_meant_is_known(slip: str, right: str | None) -> None:
    assert unknown_type([slip]) == slip
    assert meant(slip) == right
