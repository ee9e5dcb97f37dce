"""Jobs at a scripted server with xAI's video API."""

import base64
from pathlib import Path
from typing import Any

import msgspec
import pytest

from raincheck.core.errors import UpstreamDown
from raincheck.core.outcome import FailureKind
from raincheck.core.videos import VIDEO, Source, VideoAnswer
from raincheck.upstream.xai import dialect
from tests.scripted_videos import Plan, ScriptedVideos, Trouble
from tests.upstream.openai_calls import the_failure, the_reply
from tests.upstream.video_calls import Told, calling_xai, some_work

PICTURE = (b"\x89PNG picture", "image/png")
INLINE = "data:image/png;base64," + base64.b64encode(PICTURE[0]).decode()
UNMADE = Plan(error={"code": "invalid_argument", "message": "no need to make it"})


async def test_a_job_is_begun_waited_for_and_its_link_followed(tmp_path: Path) -> None:
    async with ScriptedVideos(seconds=0.1) as server, calling_xai(server) as upstream:
        server.plan(Plan(seconds=0.1, usage={"cost_in_usd_ticks": 7}))
        told = Told()
        reply = the_reply(await upstream.perform(some_work(tmp_path), told))
    answer = msgspec.json.decode(reply.body, type=VideoAnswer)
    assert (answer.model, answer.width, answer.height) == ("grok-video", 160, 90)
    assert reply.usage == b'{"cost_in_usd_ticks":7}'
    assert (reply.made[0].name, reply.made[0].path.read_bytes()) == (VIDEO, server.video)
    assert (told.remotes, server.count("POST", "/videos/generations")) == ([server.jobs[0].id], 1)


@pytest.mark.parametrize(
    ("operation", "asked", "path", "sent"),
    [
        ("video.generation", {}, "/videos/generations", {}),
        ("video.generation", {"seconds": 5.0}, "/videos/generations", {"duration": 5}),
        (
            "video.generation",
            {"aspect_ratio": "1:1", "resolution": "720p", "seed": 3, "user": "u", "extra": {"x": msgspec.Raw(b"[1]")}},
            "/videos/generations",
            {"aspect_ratio": "1:1", "resolution": "720p", "seed": 3, "user": "u", "x": [1]},
        ),
        (
            "video.generation",
            {"size": "1024x1792"},
            "/videos/generations",
            {"aspect_ratio": "9:16", "resolution": "1080p"},
        ),
        (
            "video.generation",
            {"image": Source(url="https://h/a.png")},
            "/videos/generations",
            {"image": {"url": "https://h/a.png"}},
        ),
        ("video.generation", {"image": Source(attachment="a")}, "/videos/generations", {"image": {"url": INLINE}}),
        (
            "video.generation",
            {"reference_images": (Source(attachment="a"), Source(url="https://h/b"))},
            "/videos/generations",
            {"reference_images": [{"url": INLINE}, {"url": "https://h/b"}]},
        ),
        (
            "video.edit",
            {"video": Source(url="https://h/v.mp4"), "seconds": 4.0, "resolution": "480p"},
            "/videos/edits",
            {"video": {"url": "https://h/v.mp4"}},
        ),
        (
            "video.extension",
            {"video": Source(url="https://h/v.mp4"), "seconds": 6.0},
            "/videos/extensions",
            {"video": {"url": "https://h/v.mp4"}, "duration": 6},
        ),
    ],
)
async def test_calls_are_in_xais_words(
    tmp_path: Path, operation: str, asked: dict[str, Any], path: str, sent: dict[str, Any]
) -> None:
    async with ScriptedVideos() as server, calling_xai(server) as upstream:
        server.plan(UNMADE)
        work = some_work(tmp_path, operation=operation, inputs={"a": PICTURE}, **asked)
        await upstream.perform(work, Told())
    job = server.jobs[0]
    assert (job.path, job.fields) == (path, {"model": "m", "prompt": "a cat"} | sent)


async def test_an_input_that_is_too_large_for_a_call_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialect, "LARGEST_INLINE", 4)
    async with ScriptedVideos() as server, calling_xai(server) as upstream:
        work = some_work(tmp_path, inputs={"a": PICTURE}, image=Source(attachment="a"))
        failure = the_failure(await upstream.perform(work, Told()))
    assert (failure.kind, failure.error.param) == (FailureKind.REJECTED, "image")


async def test_a_video_that_is_withheld_is_refused(tmp_path: Path) -> None:
    async with ScriptedVideos() as server, calling_xai(server) as upstream:
        server.plan(Plan(moderated=True))
        told = Told()
        failure = the_failure(await upstream.perform(some_work(tmp_path), told))
    assert (failure.kind, failure.error.code) == (FailureKind.REJECTED, "moderation_blocked")
    assert told.remotes == [server.jobs[0].id, None]


@pytest.mark.parametrize(
    ("plan", "kind"),
    [
        (Plan(error={"code": "invalid_argument", "message": "no"}), FailureKind.REJECTED),
        (Plan(error={"code": "permission_denied", "message": "no"}), FailureKind.REJECTED),
        (Plan(error={"code": "service_unavailable", "message": "no"}), FailureKind.TRANSIENT),
        (Plan(error={"code": "internal_error", "message": "no"}), FailureKind.TRANSIENT),
        (Plan(status="expired"), FailureKind.TRANSIENT),
    ],
)
async def test_a_job_that_failed_says_whether_another_may_do(tmp_path: Path, plan: Plan, kind: FailureKind) -> None:
    async with ScriptedVideos() as server, calling_xai(server) as upstream:
        server.plan(plan)
        told = Told()
        failure = the_failure(await upstream.perform(some_work(tmp_path), told))
    assert (failure.kind, told.remotes) == (kind, [server.jobs[0].id, None])


async def test_a_job_that_is_known_is_found_again_and_trouble_endured(tmp_path: Path) -> None:
    """G4"""
    async with ScriptedVideos() as server, calling_xai(server) as upstream:
        server.plan(UNMADE)
        await upstream.perform(some_work(tmp_path), Told())
        server.jobs[0].plan = Plan()
        server.trouble("poll", Trouble(502), Trouble(202), Trouble(drop=True))
        server.trouble("content", Trouble(503))
        the_reply(await upstream.perform(some_work(tmp_path, remote_id=server.jobs[0].id), Told()))
    assert len(server.jobs) == 1


async def test_a_link_that_expired_is_asked_for_anew(tmp_path: Path) -> None:
    async with ScriptedVideos() as server, calling_xai(server) as upstream:
        server.trouble("content", Trouble(403))
        the_reply(await upstream.perform(some_work(tmp_path), Told()))
    assert server.count("GET", server.jobs[0].id) == 2


async def test_a_link_into_our_own_net_is_not_followed(tmp_path: Path) -> None:
    async with ScriptedVideos() as server, calling_xai(server) as upstream:
        server.plan(Plan(url="http://10.0.0.1/secret.mp4"))
        failure = the_failure(await upstream.perform(some_work(tmp_path), Told()))
    assert (failure.kind, failure.error.code) == (FailureKind.REJECTED, "remote_result_refused")


async def test_abandoning_tries_to_cancel(tmp_path: Path) -> None:
    async with ScriptedVideos() as server, calling_xai(server) as upstream:
        server.plan(Plan(seconds=0.0))
        the_reply(await upstream.perform(some_work(tmp_path), Told()))
        await upstream.abandon(server.jobs[0].id)
        server.trouble("cancel", Trouble(405), Trouble(500))
        await upstream.abandon(server.jobs[0].id)
        with pytest.raises(UpstreamDown):
            await upstream.abandon(server.jobs[0].id)
    assert (server.cancelled, server.deleted) == ([server.jobs[0].id], [])
