"""Runs the checks of each room of the API against a server."""

import importlib
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from openai import AsyncOpenAI, OpenAI

from tests.clients.checks import Given, main
from tests.clients.openai_client import CHECKS
from tests.clients.waited import waited

# It says of its calls for videos that the hosted service for them ends.
warnings.simplefilter("ignore", DeprecationWarning)
for room in ("models", "chat", "failures", "files", "batches", "responses", "videos", "webhooks"):
    importlib.import_module(f"tests.clients.openai_client.{room}")


@contextmanager
def blocking(given: Given) -> Generator[Any]:
    with OpenAI(**_options(given)) as client:
        yield client


def asynchronous(given: Given) -> Any:
    return waited(lambda: AsyncOpenAI(**_options(given)))


def _options(given: Given) -> dict[str, Any]:
    return {"base_url": f"{given.url}/v1", "api_key": given.key, "timeout": 60}


main(CHECKS, sync=blocking, **{"async": asynchronous})
