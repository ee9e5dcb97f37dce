"""Videos over gRPC that real upstreams make: the embedded renderer, and a scripted server with OpenAI's video jobs."""

from pathlib import Path

import pytest
from xai_sdk.video import VideoGenerationError

from raincheck.core.settings import UpstreamSettings
from raincheck.grpc.protos import deferred_pb2
from tests.grpc.videos import EAGER, downloaded, ended, filming
from tests.scripted_videos import Plan, ScriptedVideos


@pytest.mark.slow("renders clips in child processes")
async def test_the_preview_renderer_generates_extends_and_edits(tmp_path: Path) -> None:
    preview = UpstreamSettings(name="preview", kind="preview", max_concurrency=1)
    async with filming(tmp_path, preview) as server:
        video = server.client().video
        first = await video.generate("Sunset", "preview", duration=1, resolution="480p", interval=EAGER)
        longer = await video.extend("Stars come out", "preview", first.url, duration=1, interval=EAGER)
        grey = await video.start("Make it black and white", "preview", video_url=first.url)
        edited = await ended(server, grey.request_id)
        films = [await downloaded(server, url) for url in (first.url, longer.url, edited.response.video.url)]

    assert (first.duration, longer.duration, edited.response.video.duration) == (1, 2, 1)
    assert edited.status == deferred_pb2.DONE
    assert all(film[4:8] == b"ftyp" for film in films)


@pytest.mark.slow("makes a video with ffmpeg")
async def test_what_a_job_cost_and_why_one_failed(tmp_path: Path) -> None:
    async with ScriptedVideos(("films",), poll_after=20) as jobs:
        jobs.plan(
            Plan(usage={"cost_in_usd_ticks": 7, "total_tokens": 5}),
            Plan(usage={"cost_in_usd_ticks": "much"}),
            Plan(error={"code": "moderation_blocked", "message": "Not this."}),
        )
        upstream = UpstreamSettings(name="jobs", kind="videos", base_url=jobs.base_url)
        async with filming(tmp_path, upstream) as server:
            video = server.client().video
            told = await video.generate("A cat", "films", generate_audio=False, interval=EAGER)
            garbled = await video.generate("A cat", "films", interval=EAGER)
            with pytest.raises(VideoGenerationError, match=r"Not this.") as failed:
                await video.generate("A dog", "films", interval=EAGER)

    assert (told.usage.cost_in_usd_ticks, told.usage.total_tokens) == (7, 5)
    assert told.cost_usd is not None
    assert not garbled.cost_usd
    assert failed.value.code in ("invalid_argument", "internal_error")
    assert jobs.jobs[0].fields["generate_audio"] in (False, "False", "false")
