"""openai-python, unmodified, blocking and asynchronous: `python -m tests.clients.openai_client URL GRPC_HOST KEY`."""

import openai

from tests.clients.checks import Checks

CHECKS = Checks("openai", openai.__version__)
