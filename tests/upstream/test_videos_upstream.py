"""Jobs at a scripted server with OpenAI's videos API: begun, waited for, collected, found again, stopped."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from raincheck.core.clock import SECOND
from raincheck.core.errors import SettingsInvalid, UpstreamDown
from raincheck.core.outcome import Failure, FailureKind, Reply
from raincheck.core.videos import SPRITESHEET, THUMBNAIL, VIDEO, Source, VideoAnswer
from raincheck.upstream.protocol import Takes
from raincheck.upstream.videos import VideosUpstream
from raincheck.upstream.videos.remote import Pace
from tests.media import make_picture
from tests.scripted_videos import Plan, ScriptedVideos, Trouble
from tests.upstream.openai_calls import the_failure, the_reply
from tests.upstream.video_calls import Told, calling, some_work

KEY = "sk-0123456789abcdefghij"
PICTURE = (b"\x89PNG picture", "image/png")
FILM = (b"\0\0\0\x18ftypmp42 film", "video/mp4")
FOR_EVER = Plan(seconds=float("inf"))


def answer_of(answer: Reply | Failure) -> VideoAnswer:
    return msgspec.json.decode(the_reply(answer).body, type=VideoAnswer)


def kind_and_code(answer: Reply | Failure) -> tuple[FailureKind, str | None]:
    failure = the_failure(answer)
    return failure.kind, failure.error.code


# --- begun and collected


async def test_a_job_is_begun_waited_for_and_its_video_brought_home(tmp_path: Path) -> None:
    async with ScriptedVideos(seconds=0.1) as server, calling(server, api_key=KEY) as upstream:
        told = Told()
        reply = the_reply(await upstream.perform(some_work(tmp_path, seed=7), told))
    answer = msgspec.json.decode(reply.body, type=VideoAnswer)
    assert (answer.model, answer.width, answer.height, answer.fps, answer.seed) == ("m", 160, 90, 12, 7)
    assert answer.seconds == pytest.approx(1.0, abs=0.1)
    assert [(made.name, made.content_type) for made in reply.made] == [
        (VIDEO, "video/mp4"),
        (THUMBNAIL, "image/webp"),
        (SPRITESHEET, "image/webp"),
    ]
    assert reply.made[0].path.read_bytes() == server.video
    assert all(made.path.is_relative_to(tmp_path) for made in reply.made)
    assert told.remotes == [server.jobs[0].id]
    assert [fraction for fraction, _ in told.steps] == sorted(fraction or 0 for fraction, _ in told.steps)
    assert told.steps[-1] == (1.0, "downloading")
    assert {headers["authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    assert (upstream.takes, server.count("POST", "/videos")) == (Takes.VIDEOS, 1)


async def test_the_id_is_recorded_before_anything_is_waited_for(tmp_path: Path) -> None:
    """G4"""
    async with ScriptedVideos() as server, calling(server) as upstream:

        class Checking(Told):
            async def remote(self, remote_id: str | None) -> None:
                assert server.calls == [("POST", "/videos")]
                await super().remote(remote_id)

        the_reply(await upstream.perform(some_work(tmp_path), Checking()))


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({}, {"prompt": "a cat", "model": "m"}),
        ({"seconds": 8.0}, {"seconds": "8"}),
        ({"seconds": 2.5}, {"seconds": "2.5"}),
        ({"size": "720x1280"}, {"size": "720x1280"}),
        ({"aspect_ratio": "9:16", "resolution": "720p"}, {"size": "720x1280"}),
        ({"resolution": "480p"}, {"size": "854x480"}),
        ({"seed": 3, "user": "u"}, {"seed": "3", "user": "u"}),
        (
            {"extra": {"fps": msgspec.Raw(b"16"), "negative_prompt": msgspec.Raw(b'"no"'), "x": msgspec.Raw(b"[1]")}},
            {"fps": "16", "negative_prompt": "no", "x": "[1]"},
        ),
    ],
)
async def test_what_was_asked_for_becomes_form_fields_and_nothing_else_does(
    tmp_path: Path, asked: dict[str, Any], sent: dict[str, str]
) -> None:
    async with ScriptedVideos() as server, calling(server) as upstream:
        server.plan(Plan(error="no need to make it"))
        await upstream.perform(some_work(tmp_path, **asked), Told())
    assert server.jobs[0].fields == {"prompt": "a cat", "model": "m"} | sent


@pytest.mark.parametrize(
    ("operation", "asked", "path", "field"),
    [
        ("video.generation", {"image": Source(attachment="a")}, "/videos", "input_reference"),
        ("video.generation", {"image": Source(url="http://h/a")}, "/videos", "input_reference"),
        ("video.generation", {"reference_images": (Source(attachment="a"),)}, "/videos", "input_reference"),
        ("video.generation", {"video": Source(attachment="a")}, "/videos", "input_reference"),
        ("video.edit", {"video": Source(attachment="a")}, "/videos/edits", "video"),
        ("video.extension", {"video": Source(attachment="a")}, "/videos/extensions", "video"),
    ],
)
async def test_inputs_are_sent_as_files(
    tmp_path: Path, operation: str, asked: dict[str, Any], path: str, field: str
) -> None:
    async with ScriptedVideos() as server, calling(server) as upstream:
        server.plan(Plan(error="no need to make it"))
        work = some_work(tmp_path, operation=operation, inputs={"a": PICTURE, "http://h/a": PICTURE}, **asked)
        await upstream.perform(work, Told())
    assert (server.jobs[0].path, server.jobs[0].files) == (path, {field: (PICTURE[1], PICTURE[0])})


async def test_a_server_without_edits_is_given_the_video_as_a_reference(tmp_path: Path) -> None:
    async with ScriptedVideos(takes_edits=False) as server, calling(server) as upstream:
        work = some_work(tmp_path, operation="video.edit", inputs={"a": FILM}, video=Source(attachment="a"))
        for _ in range(2):
            server.plan(Plan(error="no need to make it"))
            await upstream.perform(work, Told())
    assert [job.files for job in server.jobs] == [{"input_reference": (FILM[1], FILM[0])}] * 2
    assert server.count("POST", "/edits") == 1


async def test_a_server_whose_forms_need_a_file_is_sent_json_when_there_is_none(tmp_path: Path) -> None:
    async with ScriptedVideos(forms_need_files=True) as server, calling(server) as upstream:
        for _ in range(2):
            server.plan(Plan(error="no need to make it"))
            await upstream.perform(some_work(tmp_path, seconds=4.0, extra={"fps": msgspec.Raw(b"16")}), Told())
    assert [job.fields for job in server.jobs] == [{"fps": 16, "prompt": "a cat", "model": "m", "seconds": "4"}] * 2
    assert server.count("POST", "/videos") == 3


async def test_the_servers_own_stills_are_used(tmp_path: Path) -> None:
    still = make_picture(tmp_path / "a.webp").read_bytes()
    async with ScriptedVideos(stills=still) as server, calling(server) as upstream:
        reply = the_reply(await upstream.perform(some_work(tmp_path), Told()))
    assert [made.path.read_bytes() for made in reply.made] == [server.video, still, still]


async def test_usage_is_handed_on(tmp_path: Path) -> None:
    async with ScriptedVideos() as server, calling(server) as upstream:
        server.plan(Plan(usage={"total_tokens": 5}))
        reply = the_reply(await upstream.perform(some_work(tmp_path), Told()))
    assert reply.usage == b'{"total_tokens":5}'
    assert msgspec.json.decode(reply.body)["usage"] == {"total_tokens": 5}


async def test_an_id_of_odd_letters_leads_nowhere_else(tmp_path: Path) -> None:
    odd = "../a b?c=%2F#é"
    async with ScriptedVideos() as server, calling(server) as upstream:
        server.plan(Plan(id=odd))
        told = Told()
        the_reply(await upstream.perform(some_work(tmp_path), told))
        await upstream.abandon(odd)
    assert (told.remotes, server.cancelled, server.deleted) == ([odd], [odd], [odd])


async def test_the_server_says_when_to_look_again(tmp_path: Path) -> None:
    async with ScriptedVideos(poll_after=1) as server, calling(server, pace=Pace(60.0, 60.0)) as upstream:
        server.plan(Plan(seconds=0.05))
        async with asyncio.timeout(5):
            the_reply(await upstream.perform(some_work(tmp_path), Told()))


# --- refused and failed


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, FailureKind.REJECTED),
        (401, FailureKind.REJECTED),
        (404, FailureKind.REJECTED),
        (422, FailureKind.REJECTED),
        (429, FailureKind.BUSY),
        (500, FailureKind.TRANSIENT),
    ],
)
async def test_a_refused_job_is_what_its_status_says(tmp_path: Path, status: int, kind: FailureKind) -> None:
    async with ScriptedVideos() as server, calling(server, api_key=KEY) as upstream:
        server.trouble("create", Trouble(status, {"error": {"message": f"not with {KEY}"}}))
        told = Told()
        failure = the_failure(await upstream.perform(some_work(tmp_path), told))
    assert (failure.kind, told.remotes) == (kind, [])
    assert KEY not in repr(failure)


async def test_a_server_that_is_not_there_was_sent_nothing(tmp_path: Path) -> None:
    async with calling("http://127.0.0.1:1/v1") as upstream:
        answer = await upstream.perform(some_work(tmp_path), Told())
    assert kind_and_code(answer) == (FailureKind.UNREACHABLE, "upstream_unreachable")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "moderation_blocked", "message": "no"}, FailureKind.REJECTED),
        ({"code": "content_policy_violation", "message": "no"}, FailureKind.REJECTED),
        ({"type": "invalid_request_error", "message": "no"}, FailureKind.REJECTED),
        ({"code": "invalid_argument", "message": "no"}, FailureKind.REJECTED),
        ({"code": 400, "message": "no"}, FailureKind.REJECTED),
        ({"code": 500, "message": "no"}, FailureKind.TRANSIENT),
        ({"code": "rate_limit_exceeded", "message": "no"}, FailureKind.TRANSIENT),
        ({"message": "CUDA out of memory"}, FailureKind.TRANSIENT),
        ("CUDA out of memory", FailureKind.TRANSIENT),
        ({}, FailureKind.TRANSIENT),
        (None, FailureKind.TRANSIENT),
    ],
)
async def test_a_job_that_failed_is_no_more_and_its_error_says_whether_another_may_do(
    tmp_path: Path, error: Any, kind: FailureKind
) -> None:
    async with ScriptedVideos() as server, calling(server) as upstream:
        server.plan(Plan(error=error) if error is not None else Plan(status="cancelled"))
        told = Told()
        failure = the_failure(await upstream.perform(some_work(tmp_path), told))
    assert failure.kind is kind
    assert told.remotes == [server.jobs[0].id, None]
    assert failure.error.message
    assert (failure.error.upstream is not None and failure.error.upstream.name) == "pool"


@pytest.mark.parametrize(("http", "kind"), [(400, FailureKind.REJECTED), (500, FailureKind.TRANSIENT)])
async def test_a_job_that_failed_may_be_told_of_under_its_own_status(
    tmp_path: Path, http: int, kind: FailureKind
) -> None:
    async with ScriptedVideos() as server, calling(server) as upstream:
        server.plan(Plan(error={"code": http, "message": "no"}, http=http))
        told = Told()
        failure = the_failure(await upstream.perform(some_work(tmp_path), told))
    assert (failure.kind, told.remotes) == (kind, [server.jobs[0].id, None])


async def test_what_cannot_be_asked_for_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    picture = Source(attachment="a")
    async with ScriptedVideos() as server, calling(server) as upstream:
        refused: list[dict[str, Any]] = [
            {"size": "huge"},
            {"image": picture, "reference_images": (picture,)},
            {"image": picture},
        ]
        for asked in refused:
            failure = the_failure(await upstream.perform(some_work(tmp_path, **asked), Told()))
            assert failure.kind is FailureKind.REJECTED
        broken = replace(some_work(tmp_path), payload=b'{"prompt":1}')
        assert the_failure(await upstream.perform(broken, Told())).kind is FailureKind.REJECTED
        edit = some_work(tmp_path, operation="video.edit")
        assert the_failure(await upstream.perform(edit, Told())).error.param == "video"
    assert server.jobs == []


async def test_a_file_that_is_no_video_is_none(tmp_path: Path) -> None:
    async with ScriptedVideos() as server, calling(server) as upstream:
        server.video = b"<html>sorry</html>"
        told = Told()
        answer = await upstream.perform(some_work(tmp_path), told)
    assert kind_and_code(answer) == (FailureKind.TRANSIENT, "upstream_not_video")
    assert told.remotes == [server.jobs[0].id, None]


async def test_a_video_that_was_cut_off_at_its_maker_is_none(tmp_path: Path) -> None:
    async with ScriptedVideos() as server, calling(server) as upstream:
        server.video = server.video[: len(server.video) // 2]
        answer = await upstream.perform(some_work(tmp_path), Told())
    assert kind_and_code(answer) == (FailureKind.TRANSIENT, "upstream_not_video")


@pytest.mark.parametrize("broken", ["false", "true", "sleep"])
async def test_a_good_video_is_kept_where_ffmpeg_does_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """It was paid for, and another try would be paid for again."""
    async with ScriptedVideos() as server, calling(server) as upstream:
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", f"/bin/{broken}")
        told = Told()
        reply = the_reply(await upstream.perform(some_work(tmp_path), told))
    assert [(made.name, made.path.read_bytes()) for made in reply.made] == [(VIDEO, server.video)]
    assert (answer_of(reply).model, answer_of(reply).fps) == ("m", None)
    assert told.remotes == [server.jobs[0].id]


async def test_a_video_may_be_so_large(tmp_path: Path) -> None:
    async with ScriptedVideos() as server, calling(server, largest=1000) as upstream:
        answer = await upstream.perform(some_work(tmp_path), Told())
    assert kind_and_code(answer) == (FailureKind.REJECTED, "result_too_large")


# --- endured


async def test_trouble_while_a_job_is_known_is_endured(tmp_path: Path) -> None:
    async with ScriptedVideos() as server, calling(server) as upstream:
        server.trouble("poll", Trouble(500), Trouble(drop=True), Trouble(429), Trouble(404))
        told = Told()
        the_reply(await upstream.perform(some_work(tmp_path), told))
    assert (len(server.jobs), told.remotes) == (1, [server.jobs[0].id])


@pytest.mark.slow("waits for a server that comes back")
async def test_a_server_that_restarts_with_its_jobs_is_waited_for(tmp_path: Path) -> None:
    async with ScriptedVideos(seconds=0.3) as server, calling(server) as upstream:
        told = Told()
        task = asyncio.create_task(upstream.perform(some_work(tmp_path), told))
        await server.until(lambda: server.count("GET", server.jobs[0].id) > 0 if server.jobs else False)
        await server.close()
        await asyncio.sleep(0.5)
        await server.start()
        the_reply(await task)
    assert (len(server.jobs), told.remotes) == (1, [server.jobs[0].id])


async def test_a_server_that_stays_away_leaves_the_job_known(tmp_path: Path) -> None:
    async with ScriptedVideos() as server, calling(server, silence_timeout=SECOND // 5) as upstream:
        server.plan(FOR_EVER)
        told = Told()
        task = asyncio.create_task(upstream.perform(some_work(tmp_path), told))
        await server.until(lambda: server.count("GET", server.jobs[0].id) > 0 if server.jobs else False)
        await server.close()
        answer = await task
    assert kind_and_code(answer) == (FailureKind.TRANSIENT, "upstream_unreachable")
    assert told.remotes == [server.jobs[0].id]


async def test_a_job_that_vanished_is_over_and_the_next_attempt_begins_another(tmp_path: Path) -> None:
    """G4"""
    async with ScriptedVideos() as server, calling(server) as upstream:
        told = Told()
        answer = await upstream.perform(some_work(tmp_path, remote_id="video_of_old"), told)
        assert kind_and_code(answer) == (FailureKind.TRANSIENT, "remote_job_lost")
        assert "submitted anew" in the_failure(answer).error.message
        assert (told.remotes, server.jobs) == ([None], [])
        the_reply(await upstream.perform(some_work(tmp_path), told))
    assert told.remotes == [None, server.jobs[0].id]


async def test_words_nobody_knows_are_no_end(tmp_path: Path) -> None:
    async with ScriptedVideos() as server, calling(server) as upstream:
        server.plan(Plan(status="polishing"))
        told = Told()
        task = asyncio.create_task(upstream.perform(some_work(tmp_path), told))
        await server.until(lambda: server.count("GET", server.jobs[0].id) > 2 if server.jobs else False)
        server.jobs[0].plan = Plan()
        the_reply(await task)
    assert (1.0, "polishing") in told.steps


@pytest.mark.parametrize("etag", ['"film"', None])
async def test_a_download_that_breaks_off_is_gone_on_with(tmp_path: Path, etag: str | None) -> None:
    async with ScriptedVideos() as server, calling(server) as upstream:
        server.etag = etag
        server.trouble("content", Trouble(cut=1000), Trouble(503), Trouble(cut=10))
        reply = the_reply(await upstream.perform(some_work(tmp_path), Told()))
    assert reply.made[0].path.read_bytes() == server.video
    ranges = [headers["range"] for headers in server.headers if "range" in headers]
    assert bool(ranges) == (etag is not None)


async def test_a_download_that_always_breaks_off_at_the_same_place_is_given_up(tmp_path: Path) -> None:
    async with ScriptedVideos() as server, calling(server, silence_timeout=SECOND // 5) as upstream:
        server.etag = None
        server.trouble("content", *[Trouble(cut=1000)] * 50)
        told = Told()
        answer = await upstream.perform(some_work(tmp_path), told)
    assert kind_and_code(answer) == (FailureKind.TRANSIENT, "upstream_disconnected")
    assert told.remotes == [server.jobs[0].id]


async def test_content_that_expired_is_as_a_job_that_vanished(tmp_path: Path) -> None:
    async with ScriptedVideos() as server, calling(server) as upstream:
        server.trouble("content", Trouble(410), Trouble(410))
        told = Told()
        answer = await upstream.perform(some_work(tmp_path), told)
    assert kind_and_code(answer) == (FailureKind.TRANSIENT, "remote_job_lost")
    assert told.remotes == [server.jobs[0].id, None]


async def test_content_behind_a_redirect_is_fetched_from_there(tmp_path: Path) -> None:
    async with ScriptedVideos() as server, calling(server) as upstream:
        server.plan(Plan(id="video_1"))
        server.trouble("content", Trouble(302, headers={"location": "/files/video_1.mp4"}))
        reply = the_reply(await upstream.perform(some_work(tmp_path), Told()))
    assert reply.made[0].path.read_bytes() == server.video


async def test_content_that_is_only_in_a_bucket_is_fetched_from_the_jobs_url(tmp_path: Path) -> None:
    async with ScriptedVideos() as server, calling(server) as upstream:
        server.plan(Plan(id="video_1", url=server.base_url.replace("/v1", "/files/video_1.mp4")))
        server.trouble("content", Trouble(400))
        reply = the_reply(await upstream.perform(some_work(tmp_path), Told()))
    assert reply.made[0].path.read_bytes() == server.video


async def test_content_behind_a_redirect_into_our_own_net_is_not_fetched(tmp_path: Path) -> None:
    async with ScriptedVideos() as server, calling(server) as upstream:
        server.trouble("content", Trouble(302, headers={"location": "http://10.0.0.1/secret"}))
        answer = await upstream.perform(some_work(tmp_path), Told())
    assert kind_and_code(answer) == (FailureKind.REJECTED, "remote_result_refused")


# --- found again and stopped


async def test_a_job_that_is_known_is_found_again_and_not_begun_again(tmp_path: Path) -> None:
    """G4"""
    async with ScriptedVideos(seconds=0.2) as server, calling(server) as upstream:
        told = Told()
        first = asyncio.create_task(upstream.perform(some_work(tmp_path), told))
        await server.until(lambda: server.count("GET", server.jobs[0].id) > 0 if server.jobs else False)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert server.cancelled == []
        answer = answer_of(await upstream.perform(some_work(tmp_path, remote_id=told.remotes[0]), Told()))
    assert (len(server.jobs), answer.width) == (1, 160)


async def test_a_job_whose_id_could_not_be_recorded_is_handed_over_to_be_stopped(tmp_path: Path) -> None:
    async with ScriptedVideos() as server, calling(server) as upstream:
        told = Told(refusing=ValueError("lost"))
        with pytest.raises(ValueError, match="lost"):
            await upstream.perform(some_work(tmp_path), told)
    assert told.strays == [server.jobs[0].id]


async def test_a_job_that_is_begun_after_its_cancel_is_handed_over_to_be_stopped(tmp_path: Path) -> None:
    """G5: however long the server takes to say its id, and the cancel does not wait for that."""
    late = asyncio.Event()
    async with ScriptedVideos() as server, calling(server) as upstream:
        server.trouble("create", Trouble(wait=late))
        told = Told()
        task = asyncio.create_task(upstream.perform(some_work(tmp_path), told))
        await server.until(lambda: bool(server.calls))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert server.jobs == []
        late.set()
        async with asyncio.timeout(2):
            while not told.strays:
                await asyncio.sleep(0.005)
    assert (told.strays, told.remotes) == ([server.jobs[0].id], [])


async def test_closing_waits_a_little_for_the_ids_of_jobs_nobody_wants(tmp_path: Path) -> None:
    late = asyncio.Event()
    async with ScriptedVideos() as server:
        async with calling(server) as upstream:
            server.trouble("create", Trouble(wait=late))
            told = Told()
            task = asyncio.create_task(upstream.perform(some_work(tmp_path), told))
            await server.until(lambda: bool(server.calls))
            task.cancel()
            await asyncio.wait([task])
            asyncio.get_running_loop().call_later(0.05, late.set)
        assert told.strays == [server.jobs[0].id]


async def test_closing_waits_no_longer_for_a_server_that_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raincheck.upstream.videos.remote._LAST_WORD", 0.05)
    async with ScriptedVideos() as server:
        async with calling(server) as upstream:
            server.trouble("create", Trouble(wait=asyncio.Event()))
            task = asyncio.create_task(upstream.perform(some_work(tmp_path), told := Told()))
            await server.until(lambda: bool(server.calls))
            task.cancel()
            await asyncio.wait([task])
        assert told.strays == []


@pytest.mark.parametrize("cancels", [True, False])
async def test_abandoning_cancels_and_deletes(tmp_path: Path, cancels: bool) -> None:
    """G5"""
    async with ScriptedVideos(cancels=cancels) as server, calling(server) as upstream:
        server.plan(FOR_EVER)
        task = asyncio.create_task(upstream.perform(some_work(tmp_path), Told()))
        await server.until(lambda: server.count("GET", server.jobs[0].id) > 0 if server.jobs else False)
        await upstream.abandon(server.jobs[0].id)
        assert (len(server.cancelled), server.deleted) == (int(cancels), [server.jobs[0].id])
        await upstream.abandon(server.jobs[0].id)  # unknown by now, which is no error
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_cancel_that_goes_wrong_leaves_the_deleting() -> None:
    async with ScriptedVideos() as server, calling(server) as upstream:
        server.trouble("cancel", Trouble(drop=True))
        await upstream.abandon("video_1")
    assert server.count("DELETE", "video_1") == 1


async def test_a_server_that_could_not_be_told_is_down() -> None:
    async with ScriptedVideos() as server, calling(server) as upstream:
        server.trouble("cancel", Trouble(503))
        server.trouble("delete", Trouble(503))
        with pytest.raises(UpstreamDown):
            await upstream.abandon("video_1")
        await server.close()
        with pytest.raises(UpstreamDown):
            await upstream.abandon("video_1")


# --- the rest


async def test_the_models_are_those_it_lists_and_any_when_it_lists_none() -> None:
    async with ScriptedVideos(["a", "b"]) as server, calling(server) as upstream:
        assert await upstream.probe() == {"a", "b"}
        server.trouble("models", Trouble(404))
        assert await upstream.probe() == frozenset()
        await server.close()
        with pytest.raises(UpstreamDown):
            await upstream.probe()


async def test_nobody_waits_on_a_connection_for_a_video() -> None:
    async with calling("http://127.0.0.1:1/v1") as upstream, upstream.relay("/videos", b"{}") as relayed:
        body = b"".join([piece async for piece in relayed.body])
    assert (relayed.status, msgspec.json.decode(body)["error"]["code"]) == (400, "videos_are_deferred")


def test_a_base_url_is_http() -> None:
    with pytest.raises(SettingsInvalid):
        VideosUpstream("pool", "ftp://h/v1")
