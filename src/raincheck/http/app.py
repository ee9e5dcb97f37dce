"""Takes the Edge, hands on the HTTP application."""

from typing import Any

from litestar import Litestar, Response
from litestar.config.cors import CORSConfig
from litestar.datastructures import State

from raincheck.core.errors import NotFound
from raincheck.http import chat, deferred, events, files, health, media, models, passthrough, requests, xai
from raincheck.http.batches import openai as openai_batches
from raincheck.http.batches import results as batch_results
from raincheck.http.batches import xai as xai_batches
from raincheck.http.contract import complete
from raincheck.http.edge import Call, Edge
from raincheck.http.guard import Guard
from raincheck.http.openapi import openapi_config, schemas
from raincheck.http.problems import on_exception
from raincheck.http.responses import HANDLERS as RESPONSES
from raincheck.http.shortcut import Shortcut
from raincheck.http.videos import native as native_videos
from raincheck.http.videos import openai as openai_videos
from raincheck.http.videos import xai as xai_videos
from raincheck.http.webhooks import deliveries as webhook_deliveries
from raincheck.http.webhooks import endpoints as webhook_endpoints
from raincheck.http.webhooks import secret as webhook_secret

PROBES = (health.live, health.ready, health.metrics)
HANDLERS = (
    chat.create_completion,
    deferred.retrieve_deferred,
    requests.retrieve_request,
    requests.list_requests,
    requests.cancel_request,
    requests.requeue_request,
    requests.delete_request,
    requests.retrieve_result,
    events.follow_request,
    models.list_models,
    models.retrieve_model,
    passthrough.pass_on,
    passthrough.nothing_there,
    xai.create_xai_completion,
    xai.retrieve_xai_deferred,
    xai.list_xai_models,
    *files.HANDLERS,
    *batch_results.HANDLERS,
    *openai_batches.HANDLERS,
    *xai_batches.HANDLERS,
    *media.HANDLERS,
    *native_videos.HANDLERS,
    *openai_videos.HANDLERS,
    *RESPONSES,
    *xai_videos.HANDLERS,
    *webhook_endpoints.HANDLERS,
    *webhook_secret.HANDLERS,
    *webhook_deliveries.HANDLERS,
    *PROBES,
)
SHOWN_TO_PAGES = [
    "x-request-id",
    "retry-after",
    "location",
    "preference-applied",
    "raincheck-version",
    "raincheck-request-id",
    "openai-poll-after-ms",
    "accept-ranges",
    "content-range",
    "etag",
]


def create_app(edge: Edge) -> Litestar:
    """The application, with the guard before it."""
    app = Litestar(
        HANDLERS,
        exception_handlers={Exception: on_exception},
        openapi_config=openapi_config(edge.version),
        cors_config=_cors(edge.settings.cors_origins),
        state=State({"edge": edge}),
        logging_config=None,
        # The guard bounds bodies, with an answer in the right shape.
        request_max_body_size=None,
    )
    app.openapi_schema.components.schemas.update(schemas())
    complete(app.openapi_schema)
    # CORS is answered inside Litestar, so with it everything has to go there.
    inner = app.asgi_handler if edge.settings.cors_origins else Shortcut(app.asgi_handler)
    app.asgi_handler = Guard(inner, edge)
    return app


def create_probes(edge: Edge) -> Litestar:
    """What a worker answers, which takes no requests: how it is, and its numbers."""
    app = Litestar(
        PROBES,
        exception_handlers={404: _nothing_else, Exception: on_exception},
        openapi_config=None,
        state=State({"edge": edge}),
        logging_config=None,
        request_max_body_size=None,
    )
    app.asgi_handler = Guard(app.asgi_handler, edge)
    return app


def _nothing_else(call: Call, _: Exception) -> Response[Any]:
    return on_exception(call, NotFound("A worker answers at /health/live, /health/ready and /metrics alone."))


def _cors(origins: tuple[str, ...]) -> CORSConfig | None:
    return CORSConfig(allow_origins=list(origins), expose_headers=SHOWN_TO_PAGES) if origins else None
