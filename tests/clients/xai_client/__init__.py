"""xai-sdk, unmodified, blocking and asynchronous: `python -m tests.clients.xai_client URL GRPC_HOST KEY`."""

import importlib.metadata

from tests.clients.checks import Checks

CHECKS = Checks("xai-sdk", importlib.metadata.version("xai-sdk"))
