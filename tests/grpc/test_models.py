"""`client.models` of the real xai-sdk."""

import asyncio
from pathlib import Path

import grpc
import pytest

from raincheck.core.settings import UpstreamSettings
from tests.grpc.server import reason_of, running_grpc


async def test_the_models_of_upstreams_are_language_models(tmp_path: Path) -> None:
    drawing = UpstreamSettings(name="preview", kind="videos", base_url="http://127.0.0.1:9", models=("only-videos",))
    async with running_grpc(tmp_path, models=("b", "a"), beside=(drawing,)) as server:
        client = server.client()
        models = await client.models.list_language_models()
        assert [model.name for model in models] == ["a", "b"]
        assert (await client.models.get_language_model("b")).name == "b"
        assert (await asyncio.to_thread(server.sync_client().models.get_language_model, "a")).name == "a"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.models.get_language_model("only-videos")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert "Known models: a, b." in (caught.value.details() or "")
        assert reason_of(caught.value) == ("model_not_found", {"param": "name"})


async def test_a_model_has_what_is_known_of_it_and_nothing_else(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        [model] = await server.client().models.list_language_models()
        assert (list(model.input_modalities), list(model.output_modalities)) == ([1], [1])
        assert (model.max_prompt_length, model.prompt_text_token_price) == (0, 0)
        assert not model.HasField("created")


async def test_what_embeds_or_draws_nobody_has_said(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        models = server.client().models
        assert list(await models.list_embedding_models()) == []
        assert list(await models.list_image_generation_models()) == []
        for ask in (models.get_embedding_model, models.get_image_generation_model):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask("m")
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
