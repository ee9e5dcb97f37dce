"""Runs clients and receivers of others against a fresh server: `python -m tests.clients`, or `make clients`.

It is no part of the suite, since it fetches them from the package indexes, into environments of their own.
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from tests.clients.webhook_clients import check_webhooks
from tests.stories.processes import HOUSE, Server, an_upstream, free_port

SCRIPT = Path(__file__).with_name("batch_clients.py")
UV = Path(sys.executable).with_name("uv")


async def main() -> int:
    with tempfile.TemporaryDirectory(prefix="raincheck-clients-") as name:
        folder = Path(name)
        (folder / "raincheck.toml").write_text('[webhooks]\nallow = ["127.0.0.1"]\n')
        async with an_upstream(folder) as upstream:
            server = Server(folder, upstream, free_port())
            process = await server.start()
            # Its environment must not be taken for ours. One of the clients logs every step.
            environment = {
                key: value for key, value in os.environ.items() if not key.startswith(("UV_PROJECT", "VIRTUAL"))
            }
            environment["LOGURU_LEVEL"] = "WARNING"
            clients = await asyncio.create_subprocess_exec(
                UV,
                "run",
                "--quiet",
                "--no-project",
                "--script",
                SCRIPT,
                server.base_url,
                "m",
                cwd=HOUSE,
                env=environment,
            )
            failed = await clients.wait() + await check_webhooks(server.base_url, folder)
            await process.terminate()
    return failed


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
