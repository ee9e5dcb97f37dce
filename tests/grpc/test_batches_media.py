"""Pictures and videos as requests of batches over gRPC."""

from base64 import b64encode
from pathlib import Path

import grpc
import pytest
from xai_sdk.image import BaseImageResponse

from raincheck.core.model import LOCAL_TENANT
from raincheck.core.settings import UpstreamSettings
from raincheck.grpc.batches.images import REFUSED, image_response
from raincheck.grpc.chat.bounds import MOST_PIECES
from raincheck.grpc.problems import Ended
from raincheck.grpc.protos import batch_pb2, chat_pb2, image_pb2, video_pb2
from tests.grpc.batches import an_open_batch, batching, counts, done
from tests.grpc.server import reason_of
from tests.http.batches import a_file
from tests.http.videos import MODEL
from tests.scripted import reply

DEEP = b'{"data":[{"url":%b' % (b"[" * 100_000)
PIXEL = b"\x89PNG\r\n\x1a\n" + bytes(8)


def a_picture(**changes: object) -> batch_pb2.BatchRequest:
    asked = image_pb2.GenerateImageRequest(model="m", prompt="a cat")
    asked.MergeFrom(image_pb2.GenerateImageRequest(**changes))  # pyright: ignore[reportArgumentType]
    return batch_pb2.BatchRequest(batch_request_id="p", image_request=asked)


async def test_pictures_are_asked_for_in_xais_words_and_told_as_the_sdk_reads_them(tmp_path: Path) -> None:
    async with batching(tmp_path) as server:
        client = server.client()
        answer = {"data": [{"b64_json": b64encode(PIXEL).decode()}, {"url": "https://h/p.png"}]}
        usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7, "cost_in_usd_ticks": 5}
        server.upstream.script(reply(answer | {"usage": usage}))
        batch_id = await an_open_batch(client)
        asked = a_picture(
            n=2,
            user="u",
            format=image_pb2.IMG_FORMAT_BASE64,
            quality=image_pb2.IMG_QUALITY_LOW,
            aspect_ratio=image_pb2.IMG_ASPECT_RATIO_9_19_5,
            resolution=image_pb2.IMG_RESOLUTION_2K,
        )
        await client.batch.add(batch_id, [asked])
        await done(client, batch_id)
        [received] = server.upstream.requests
        assert (received.path, received.json) == (
            "/images/generations",
            {
                "model": "m",
                "prompt": "a cat",
                "n": 2,
                "user": "u",
                "response_format": "b64_json",
                "quality": "low",
                "aspect_ratio": "9:19.5",
                "resolution": "2k",
            },
        )
        [result] = (await client.batch.list_batch_results(batch_id)).succeeded
        picture = result.image_response
        assert (picture.model, picture.respect_moderation, picture.usage.total_tokens) == ("m", True, 7)
        assert picture.base64 == f"data:image/png;base64,{b64encode(PIXEL).decode()}"
        assert BaseImageResponse(result.proto.response.image_response, 1).url == "https://h/p.png"


async def test_pictures_to_go_by_are_handed_on_and_uploaded_ones_go_along(tmp_path: Path) -> None:
    """G8: only one's own."""
    async with batching(tmp_path) as server:
        key, other = await server.http.key("t"), await server.http.key("else")
        client = server.client(key)
        server.upstream.always(reply({"data": [{"url": "https://h/p.png"}]}))
        file_id = await a_file(server.http, PIXEL, key=key)
        theirs = await a_file(server.http, PIXEL, key=other)
        batch_id = await an_open_batch(client)
        pictures = [image_pb2.ImageUrlContent(file_id=file_id), image_pb2.ImageUrlContent(image_url="https://h/i.png")]
        await client.batch.add(batch_id, [a_picture(images=pictures)])
        await done(client, batch_id)
        [received] = server.upstream.requests
        assert received.path == "/images/edits"
        urls = [each["url"] for each in received.json["images"]]
        assert urls == [f"data:image/png;base64,{b64encode(PIXEL).decode()}", "https://h/i.png"]
        for content, code in (
            (image_pb2.ImageUrlContent(file_id=theirs), grpc.StatusCode.NOT_FOUND),
            (image_pb2.ImageUrlContent(), grpc.StatusCode.INVALID_ARGUMENT),
        ):
            with pytest.raises(grpc.aio.AioRpcError, match=r"batch_requests\[0\]") as caught:
                await client.batch.add(batch_id, [a_picture(image=content)])
            assert caught.value.code() is code


async def test_requests_of_one_call_come_to_as_much_as_a_body_over_http_may(tmp_path: Path) -> None:
    """G12: with the files in them, and a file that has no room is not read."""
    async with batching(tmp_path, max_body_bytes=1 << 20) as server:
        client = server.client()
        objects = server.http.edge.objects
        assert objects is not None
        large, small = [await a_file(server.http, PIXEL + bytes(size)) for size in (700_000, 200_000)]
        asked = [a_picture(image=image_pb2.ImageUrlContent(file_id=file_id)) for file_id in (large, small)]
        chat = batch_pb2.BatchRequest()
        message = chat.completion_request.messages.add(role=chat_pb2.ROLE_USER)
        message.content.add().image_url.file_id = small
        chat.completion_request.model = "m"
        batch_id = await an_open_batch(client)
        blob = (await server.http.edge.store.files.get(LOCAL_TENANT, small)).blob
        await objects.delete([blob])
        for second in (asked[1], chat):
            with pytest.raises(grpc.aio.AioRpcError, match=f"more than {1 << 20} bytes") as caught:
                await client.batch.add(batch_id, [asked[0], second])
            assert reason_of(caught.value)[0] == "request_too_large"
        with pytest.raises(grpc.aio.AioRpcError, match=r"batch_requests\[0\]"):
            await client.batch.add(batch_id, [chat])
        assert (await client.batch.get(batch_id)).state.num_requests == 0
        await client.batch.add(batch_id, [asked[0]])


async def test_chats_in_batches_have_as_many_pieces_as_others(tmp_path: Path) -> None:
    async with batching(tmp_path) as server:
        client = server.client()
        chat = batch_pb2.BatchRequest()
        chat.completion_request.model = "m"
        chat.completion_request.messages.extend([chat_pb2.Message()] * (MOST_PIECES + 1))
        crowd = a_picture(images=[image_pb2.ImageUrlContent(image_url="x")] * 17)
        film = batch_pb2.BatchRequest()
        film.video_request.CopyFrom(video_pb2.GenerateVideoRequest(model=MODEL, prompt="p"))
        film.video_request.reference_images.extend([image_pb2.ImageUrlContent(image_url="x")] * 17)
        batch_id = await an_open_batch(client)
        for request in (chat, crowd, film):
            with pytest.raises(grpc.aio.AioRpcError, match=r"batch_requests\[0\]") as caught:
                await client.batch.add(batch_id, [request])
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_every_field_of_a_request_for_pictures_is_handed_on_or_refused(tmp_path: Path) -> None:
    known = {"prompt", "image", "model", "n", "user", "format", "quality", "aspect_ratio", "resolution", "images"}
    assert {field.name for field in image_pb2.GenerateImageRequest.DESCRIPTOR.fields} == known | REFUSED.keys()
    async with batching(tmp_path) as server:
        client = server.client()
        batch_id = await an_open_batch(client)
        for refused in (
            a_picture(storage_options=image_pb2.StorageOptions(filename="f")),
            a_picture(format=99),
            a_picture(resolution=99),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.batch.add(batch_id, [refused])
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"data":[]}', b'{"data":[{}]}', b'{"data":[{"url":7}]}', DEEP])
def test_an_answer_without_pictures_is_a_failure(body: bytes) -> None:
    with pytest.raises(Ended, match="no pictures"):
        image_response(body, "m")


def test_counts_of_any_depth_are_left_out() -> None:
    deep = image_response(b'{"data":[{"url":"u"}],"usage":%b1%b}' % (b"[" * 600, b"]" * 600), "m")
    assert (deep.images[0].url, deep.usage.total_tokens) == ("u", 0)


def test_odd_counts_are_left_out() -> None:
    odd = image_response(b'{"data":[{"url":"u"}],"usage":{"input_tokens":-1,"total_tokens":"many"}}', "m")
    assert (odd.images[0].url, odd.usage.total_tokens) == ("u", 0)


@pytest.mark.slow("makes videos with ffmpeg")
async def test_videos_are_made_and_continued_in_a_batch(tmp_path: Path) -> None:
    maker = UpstreamSettings(name="maker", kind="python", handler="tests.http.videos:make", models=(MODEL,))
    async with batching(tmp_path, beside=(maker,), scratch=str(tmp_path / "scratch")) as server:
        client = server.client()
        batch_id = await an_open_batch(client)
        first = video_pb2.GenerateVideoRequest(model=MODEL, prompt="waves", duration=1)
        refused = video_pb2.GenerateVideoRequest(model=MODEL, prompt="refuse")
        await client.batch.add(
            batch_id,
            [
                batch_pb2.BatchRequest(batch_request_id="v", video_request=first),
                batch_pb2.BatchRequest(batch_request_id="r", video_request=refused),
            ],
        )
        assert counts(await done(client, batch_id)) == (0, 1, 1, 0)
        page = await client.batch.list_batch_results(batch_id)
        [made], [failed] = page.succeeded, page.failed
        assert (made.batch_request_id, failed.batch_request_id) == ("v", "r")
        assert "I do not like it" in (failed.error_message or "")
        assert made.video_response.respect_moderation
        assert made.video_response.url.startswith(server.http.url)
        async with server.http.session.get(made.video_response.url) as answer:
            assert (await answer.read())[4:8] == b"ftyp"

        further = video_pb2.ExtendVideoRequest(
            model=MODEL, prompt="on", video=video_pb2.VideoUrlContent(url=made.video_response.url)
        )
        await client.batch.add(
            batch_id, [batch_pb2.BatchRequest(batch_request_id="x", video_extension_request=further)]
        )
        assert counts(await done(client, batch_id)) == (0, 2, 1, 0)
        asked = batch_pb2.GetBatchRequestResultRequest(batch_id=batch_id, batch_request_id="x")
        one = await server.call("BatchMgmt/GetBatchRequestResult", asked, batch_pb2.GetBatchRequestResultResponse)
        assert one.request.video_extension_request.model == MODEL
        assert one.result.response.video_response.video.url
