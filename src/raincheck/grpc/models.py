"""`xai_api.Models`: what the upstreams serve.

An upstream lists names and nothing else, so all are language models here: prices, versions, limits and times stay
unset, and which of them embed or draw nobody has said.
"""

from google.protobuf.empty_pb2 import Empty

from raincheck.core.errors import ModelUnknown
from raincheck.grpc.call import Call
from raincheck.grpc.methods import Method, Methods
from raincheck.grpc.protos import models_pb2


async def list_language_models(call: Call, message: Empty) -> models_pb2.ListLanguageModelsResponse:
    del message
    return models_pb2.ListLanguageModelsResponse(models=[_shown(name) for name in await _names(call)])


async def get_language_model(call: Call, message: models_pb2.GetModelRequest) -> models_pb2.LanguageModel:
    known = await _names(call)
    if message.name not in known:
        listed = ", ".join(known[:20]) + (", …" if len(known) > 20 else "") if known else "none"
        raise ModelUnknown(f"No upstream lists the model {message.name!r}. Known models: {listed}.", param="name")
    return _shown(message.name)


async def list_embedding_models(call: Call, message: Empty) -> models_pb2.ListEmbeddingModelsResponse:
    del message
    await call.caller("read")
    return models_pb2.ListEmbeddingModelsResponse()


async def list_image_models(call: Call, message: Empty) -> models_pb2.ListImageGenerationModelsResponse:
    del message
    await call.caller("read")
    return models_pb2.ListImageGenerationModelsResponse()


async def get_other_model(call: Call, message: models_pb2.GetModelRequest) -> models_pb2.EmbeddingModel:
    await call.caller("read")
    raise ModelUnknown(
        f"What kind of model {message.name!r} is cannot be told: upstreams list names alone. All of them are among the "
        "language models.",
        param="name",
    )


async def _names(call: Call) -> list[str]:
    await call.caller("read")
    return call.edge.catalogue.models_for("chat.completion")


def _shown(name: str) -> models_pb2.LanguageModel:
    text = [models_pb2.TEXT]
    return models_pb2.LanguageModel(name=name, input_modalities=text, output_modalities=text)


METHODS: Methods = {
    "/xai_api.Models/ListLanguageModels": Method(Empty, answer=list_language_models),
    "/xai_api.Models/GetLanguageModel": Method(models_pb2.GetModelRequest, answer=get_language_model),
    "/xai_api.Models/ListEmbeddingModels": Method(Empty, answer=list_embedding_models),
    "/xai_api.Models/GetEmbeddingModel": Method(models_pb2.GetModelRequest, answer=get_other_model),
    "/xai_api.Models/ListImageGenerationModels": Method(Empty, answer=list_image_models),
    "/xai_api.Models/GetImageGenerationModel": Method(models_pb2.GetModelRequest, answer=get_other_model),
}
