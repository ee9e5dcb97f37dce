"""GET /v1/models: what the upstreams serve, in OpenAI's shape."""

import msgspec
from litestar import get

from raincheck.core.errors import ModelUnknown
from raincheck.http.answer import Answer
from raincheck.http.auth import caller
from raincheck.http.edge import Call, edge_of
from raincheck.http.openapi import MODEL, MODELS


@get("/v1/models", operation_class=MODELS, tags=["OpenAI"])
async def list_models(request: Call) -> Answer:
    return await all_models(request)


@get("/v1/models/{model:path}", operation_class=MODEL, tags=["OpenAI"])
async def retrieve_model(request: Call) -> Answer:
    await caller(request, "read")
    known = edge_of(request).catalogue.models()
    model = str(request.scope["path_params"]["model"]).strip("/")
    if model not in known:
        raise ModelUnknown(f"No upstream lists the model {model!r}; GET /v1/models lists those that are served.")
    return Answer(msgspec.json.encode(_model(model, known[model])))


async def all_models(call: Call) -> Answer:
    """The list by name, those that only make videos last: many a program takes the first and begins to chat."""
    await caller(call, "read")
    catalogue = edge_of(call).catalogue
    known, calls = catalogue.models(), set(catalogue.models_for("chat.completion"))
    names = sorted(known, key=lambda name: (name not in calls, name))
    return Answer(msgspec.json.encode({"object": "list", "data": [_model(name, known[name]) for name in names]}))


def _model(name: str, upstreams: list[str]) -> dict[str, object]:
    # Nobody knows when a model was made; the OpenAI shape wants a number.
    return {"id": name, "object": "model", "created": 0, "owned_by": ",".join(upstreams)}
