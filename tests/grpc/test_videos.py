"""Videos over gRPC, asked for by the unmodified xai-sdk."""

import asyncio
from pathlib import Path
from uuid import UUID

import grpc
import grpc.aio
import pytest
from xai_sdk.video import VideoGenerationError

from raincheck.grpc.protos import deferred_pb2, video_pb2
from raincheck.grpc.videos.service import HOLD
from tests.grpc.cutting import cutting
from tests.grpc.server import reason_of
from tests.grpc.videos import EAGER, data_uri, downloaded, ended, filming
from tests.http.videos import MODEL, gate, seen
from tests.media import make_clip, make_png

pytestmark = pytest.mark.slow("each makes a video with ffmpeg")


async def test_one_is_generated_extended_and_edited_by_its_link(tmp_path: Path) -> None:
    async with filming(tmp_path) as server:
        video = server.client().video
        first = await video.generate("A cat", MODEL, duration=1, aspect_ratio="1:1", resolution="480p", interval=EAGER)
        longer = await video.extend("It sleeps", MODEL, first.url, duration=2, interval=EAGER)
        greyer = await video.generate("Grey", MODEL, video_url=longer.url, interval=EAGER)
        film = await downloaded(server, greyer.url)

    assert (first.model, first.duration, first.respect_moderation, first.proto.progress) == (MODEL, 1, True, 100)
    assert film[4:8] == b"ftyp"
    assert [operation for operation, _ in seen] == ["video.generation", "video.extension", "video.edit"]
    asked = [payload for _, payload in seen]
    assert asked[0] == {"model": MODEL, "prompt": "A cat", "seconds": 1, "aspect_ratio": "1:1", "resolution": "480p"}
    assert (asked[1]["seconds"], asked[1]["video"], UUID(asked[2]["of"]).version) == (2, {"attachment": "video"}, 7)


async def test_the_blocking_client_does_the_same(tmp_path: Path) -> None:
    async with filming(tmp_path) as server:
        video = server.sync_client().video
        first = await asyncio.to_thread(video.generate, "A cat", MODEL, interval=EAGER)
        second = await asyncio.to_thread(video.extend, "It sleeps", MODEL, first.url, interval=EAGER)
        third = await asyncio.to_thread(video.start, "A dog", MODEL)
        fourth = await asyncio.to_thread(video.extend_start, "It barks", MODEL, second.url)
        await ended(server, third.request_id)
        await ended(server, fourth.request_id)
        done = await asyncio.to_thread(video.get, fourth.request_id)

        assert done.status == deferred_pb2.DONE
        for url in (first.url, second.url, done.response.video.url):
            assert (await downloaded(server, url))[4:8] == b"ftyp"


async def test_six_at_once(tmp_path: Path) -> None:
    async with filming(tmp_path) as server:
        video = server.client().video
        made = await asyncio.gather(*(video.generate(f"Cat {n}", MODEL, interval=EAGER) for n in range(6)))
    assert len({response.url for response in made}) == 6


async def test_pictures_come_as_data_uris_and_as_uploaded_files(tmp_path: Path) -> None:
    picture = make_png(tmp_path / "a.png")
    uri, body = data_uri(picture, "image/png"), b"--b\r\ncontent-disposition: form-data; name=purpose\r\n\r\nvision\r\n"
    body += b'--b\r\ncontent-disposition: form-data; name=file; filename="a.png"\r\n\r\n' + picture.read_bytes()
    async with filming(tmp_path) as server:
        kind = {"content-type": "multipart/form-data; boundary=b"}
        file_id = (await server.http.call("POST", "/v1/files", body + b"\r\n--b--\r\n", kind)).json["id"]
        video = server.client().video
        await video.generate("A cat", MODEL, image_url=uri, interval=EAGER)
        await video.generate("A cat", MODEL, image_file_id=file_id, interval=EAGER)
        await video.generate(
            "A cat", MODEL, reference_image_urls=[uri], reference_image_file_ids=[file_id], interval=EAGER
        )
        clip = data_uri(make_clip(tmp_path / "a.mp4"), "video/mp4")
        await video.extend("On", MODEL, clip, interval=EAGER)

    asked = [payload for _, payload in seen]
    assert [each.get("image") for each in asked] == [{"attachment": "image"}] * 2 + [None] * 2
    assert len(asked[2]["reference_images"]) == 2
    assert asked[3]["video"] == {"attachment": "video"}


async def test_one_that_waits_tells_how_far_it_is_on_every_path(tmp_path: Path) -> None:
    async with filming(tmp_path) as server:
        video = server.client().video
        started = await video.start("wait", MODEL)
        async with asyncio.timeout(10):
            while (pending := await video.get(started.request_id)).response.progress != 40:
                assert pending.status == deferred_pb2.PENDING
        xai = await server.http.get(f"/xai/v1/videos/{started.request_id}")
        shared = await server.http.get(f"/v1/videos/{started.request_id}")
        gate.open.set()
        done = await ended(server, started.request_id)
        read = await server.http.get(f"/xai/v1/videos/{started.request_id}")

    assert (pending.status, pending.response.model) == (deferred_pb2.PENDING, MODEL)
    assert not pending.response.HasField("video")
    assert xai.json == shared.json == {"status": "pending", "progress": 40, "model": MODEL}
    assert (done.status, read.json["status"]) == (deferred_pb2.DONE, "done")
    assert read.json["video"]["duration"] == done.response.video.duration == 1


async def test_one_started_by_http_is_read_by_grpc(tmp_path: Path) -> None:
    async with filming(tmp_path) as server:
        body = {"model": MODEL, "prompt": "A cat"}
        for path, name in (("/xai/v1/videos/generations", "request_id"), ("/v1/videos", "id")):
            video_id = (await server.http.post(path, body)).json[name]
            assert (await ended(server, video_id)).status == deferred_pb2.DONE


async def test_a_refused_and_a_cancelled_one_raise_in_xais_words(tmp_path: Path) -> None:
    async with filming(tmp_path) as server:
        client, blocking = server.client(), server.sync_client()
        with pytest.raises(VideoGenerationError) as refused:
            await client.video.generate("refuse", MODEL, interval=EAGER)
        with pytest.raises(VideoGenerationError):
            await asyncio.to_thread(blocking.video.generate, "refuse", MODEL, interval=EAGER)
        generating = asyncio.create_task(client.video.generate("wait", MODEL, interval=EAGER))
        async with asyncio.timeout(10):
            while not (waiting := (await server.http.get("/v1/requests?status=processing")).json["data"]):
                await asyncio.sleep(0.01)
        await server.http.post(f"/v1/requests/{waiting[0]['id']}/cancel")
        with pytest.raises(VideoGenerationError) as cancelled:
            await generating

    assert (refused.value.code, refused.value.message) == ("invalid_argument", "I do not like it.")
    assert cancelled.value.code == "cancelled"


async def test_one_whose_deadline_passed_is_expired(tmp_path: Path) -> None:
    """The options of a deferred call stand in the metadata, as over HTTP in the headers."""
    async with filming(tmp_path) as server:
        late = server.client(metadata=(("raincheck-expires-in", "0.2"),))
        with pytest.raises(RuntimeError, match="expired"):
            await late.video.generate("wait", MODEL, interval=EAGER)


async def test_one_that_was_purged_is_expired(tmp_path: Path) -> None:
    async with filming(tmp_path, retention=1) as server:
        started = await server.client().video.start("refuse", MODEL)
        assert (await ended(server, started.request_id)).status == deferred_pb2.FAILED
        await asyncio.sleep(0.01)
        assert await server.http.edge.store.upkeep.purge(limit=1) == 1
        assert (await ended(server, started.request_id)).status == deferred_pb2.EXPIRED


async def test_a_look_is_held_until_there_is_news(tmp_path: Path) -> None:
    async with filming(tmp_path) as server:
        client, live = server.client(), server.http.edge.live
        started = await client.video.start("wait", MODEL)
        async with asyncio.timeout(10):
            while (await client.video.get(started.request_id)).response.progress != 40:
                pass
        begun = asyncio.get_running_loop().time()
        looking = asyncio.create_task(client.video.get(started.request_id))
        async with asyncio.timeout(10):
            while not live.waiting(started.request_id):
                await asyncio.sleep(0.001)
        assert (await server.http.post(f"/xai/v1/videos/{started.request_id}/cancel")).status == 200
        told = await looking

    assert asyncio.get_running_loop().time() - begun < HOLD
    assert (told.status, told.response.error.code) == (deferred_pb2.FAILED, "cancelled")


async def test_a_look_ends_before_its_caller_stops_listening(tmp_path: Path) -> None:
    async with filming(tmp_path) as server:
        started = await server.client().video.start("wait", MODEL)
        hasty = server.client(timeout=1.2)
        assert (await hasty.video.get(started.request_id)).status == deferred_pb2.PENDING


async def test_g8_another_tenants_video_and_its_link_are_unknown(tmp_path: Path) -> None:
    async with filming(tmp_path) as server:
        await server.http.tenant("u")
        ours, theirs = await server.http.key("t"), await server.http.key("u")
        made = await server.client(ours).video.generate("A cat", MODEL, interval=EAGER)
        started = await server.client(ours).video.start("A dog", MODEL)
        for call in (
            server.client(theirs).video.get(started.request_id),
            server.client(theirs).video.extend_start("On", MODEL, made.url),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.aio.AioRpcError) as keyless:
            await server.client("wrong").video.start("A cat", MODEL)
        assert keyless.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_what_cannot_be_carried_out_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    wrong = [
        (video_pb2.GenerateVideoRequest(model=MODEL), "prompt"),
        (video_pb2.GenerateVideoRequest(model="unheard-of", prompt="A cat"), "model"),
        (video_pb2.GenerateVideoRequest(model=MODEL, prompt="A cat", duration=0), "seconds"),
        (video_pb2.GenerateVideoRequest(model=MODEL, prompt="A cat", video=video_pb2.VideoUrlContent()), "video"),
        (video_pb2.GenerateVideoRequest(model=MODEL, prompt="A cat", image={"image_url": "ftp://h/a.png"}), "image"),
        (video_pb2.GenerateVideoRequest(model=MODEL, prompt="A cat", last_frame={"image_url": "x"}), "last_frame"),
        (video_pb2.GenerateVideoRequest(model=MODEL, prompt="A cat", keyframes=[{"timestamp_s": 1}]), "keyframes"),
        (video_pb2.ExtendVideoRequest(model=MODEL, prompt="On"), "video"),
    ]
    async with filming(tmp_path) as server:
        for message, param in wrong:
            method = f"Video/{type(message).__name__.removesuffix('Request')}"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await server.call(method, message, deferred_pb2.StartDeferredResponse)
            assert reason_of(caught.value)[1]["param"] == param, message
        with pytest.raises(grpc.aio.AioRpcError) as chat:
            await server.client().video.get(await server.http.defer())
        listed = await server.http.get("/v1/videos")

    assert chat.value.code() is grpc.StatusCode.NOT_FOUND
    assert listed.json["data"] == []


async def test_the_inputs_of_a_call_that_is_refused_are_let_go_of(tmp_path: Path) -> None:
    picture = data_uri(make_png(tmp_path / "a.png"), "image/png")
    async with filming(tmp_path) as server:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.client().video.start("A cat", MODEL, image_url=picture, reference_image_urls=["data:,no"])
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        doomed = await server.http.edge.store.blobs.doomed(limit=10)

    assert {path.name for path in (tmp_path / "blobs").rglob("blob_*")} <= {blob.rpartition("/")[2] for blob in doomed}


async def test_g9_what_the_library_sends_again_is_one_video(tmp_path: Path) -> None:
    picture = data_uri(make_png(tmp_path / "a.png"), "image/png")
    async with filming(tmp_path) as server:

        async def recorded() -> bool:
            return bool((await server.http.get("/v1/videos")).json["data"])

        async with cutting(server, recorded) as through:
            started = await through.client().video.start("wait", MODEL, image_url=picture)
            again = await through.client().video.start("wait", MODEL, image_url=picture)
        listed = (await server.http.get("/v1/videos")).json["data"]
        gate.open.set()
        await ended(server, started.request_id)
        await ended(server, again.request_id)

    assert {each["id"] for each in listed} == {started.request_id, again.request_id}
