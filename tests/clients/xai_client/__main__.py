"""Runs the checks of each room of the API against a server."""

import importlib
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from xai_sdk import AsyncClient, Client

from tests.clients.checks import Given, main
from tests.clients.waited import waited
from tests.clients.xai_client import CHECKS

# It says of its calls for several choices that they may end one day.
warnings.simplefilter("ignore", PendingDeprecationWarning)
for room in ("chat", "deferred", "stored", "content", "videos", "batches", "files", "about", "unserved"):
    importlib.import_module(f"tests.clients.xai_client.{room}")


@contextmanager
def blocking(given: Given) -> Generator[Any]:
    with Client(**_options(given)) as client:
        yield client


def asynchronous(given: Given) -> Any:
    return waited(lambda: AsyncClient(**_options(given)))


def _options(given: Given) -> dict[str, Any]:
    # The management key is for collections, which are another service of xAI's.
    host = given.grpc_host
    return {
        "api_key": given.key,
        "api_host": host,
        "management_api_key": given.key,
        "management_api_host": host,
        "timeout": 60,
    }


main(CHECKS, sync=blocking, **{"async": asynchronous})
