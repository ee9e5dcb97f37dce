"""Takes a client and a server, hands on what came of each call: runs its script in an environment of its own."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tests.clients.desk import Desk
from tests.stories.processes import HOUSE

PINNED = "pinned"
"""The version in our own environment, which uv.lock pins."""
UV = Path(sys.executable).with_name("uv")
PATIENCE = 300.0
"""Seconds a whole script may take."""


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What came of one check."""

    client: str
    version: str
    call: str
    works: bool
    differs: str | None = None
    error: str | None = None

    @property
    def word(self) -> str:
        """As it stands in the results; not with the error, which is never twice the same."""
        return f"differs: {self.differs}" if self.differs else "works" if self.works else "fails"


@dataclass(frozen=True)
class Script:
    """The checks of a client, and what has to be installed for each of its versions but the pinned one."""

    module: str
    others: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    pinned: bool = True
    """Whether our own environment has the client."""

    @property
    def columns(self) -> list[str]:
        return [PINNED, *(column for column in self.others if column != PINNED)]


SCRIPTS = (
    Script("openai_client", {"old": ["openai==3.3.1"], "latest": ["openai"]}),
    # Its stubs for protobuf 6 are the newest that it has.
    Script("xai_client", {"old": ["xai-sdk==1.19.0", "protobuf<7"], "latest": ["xai-sdk"]}),
    Script("standard_webhooks", {"old": ["standardwebhooks==1.0.1"], "latest": ["standardwebhooks"]}),
    Script("tryagi"),
    Script(
        "batch_clients",
        {PINNED: ["autobatcher==0.12.0", "batchwork-ai==0.3.0", "openai-batch==0.3.4"]},
        pinned=False,
    ),
)


async def tried(script: Script, column: str, desk: Desk) -> list[Outcome]:
    """Run it against a server; in our own environment, or in one that is made for it from the package index."""
    command = [sys.executable] if script.pinned and column == PINNED else _isolated(script.others[column])
    process = await asyncio.create_subprocess_exec(
        *command,
        *("-m", f"tests.clients.{script.module}", desk.url, desk.grpc_host, desk.key),
        cwd=HOUSE,
        env=_environment(),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    outcomes = [msgspec.json.decode(line, type=Outcome) for line in said.splitlines()]
    # A script that broke off has no line for what it did not come to.
    assert process.returncode == (0 if all(each.works for each in outcomes) else 1), process.returncode
    assert outcomes, f"{script.module} ({column}) tried nothing"
    return outcomes


def _isolated(requirements: Sequence[str]) -> list[str]:
    wanted = [word for requirement in requirements for word in ("--with", requirement)]
    # Without a version the newest is meant, and not the newest that a cache remembers.
    fresh = ["--refresh"] if any("=" not in requirement for requirement in requirements) else []
    return [str(UV), "run", "--quiet", "--isolated", "--no-project", *fresh, *wanted, "python"]


def _environment() -> dict[str, str]:
    """Ours, less what would have it taken for the client's."""
    left = {key: value for key, value in os.environ.items() if not key.startswith(("UV_PROJECT", "VIRTUAL", "PYTEST"))}
    # The same Python everywhere; and one of the clients logs every step.
    return {**left, "UV_PYTHON": sys.executable, "PYTHONPATH": str(HOUSE), "LOGURU_LEVEL": "WARNING"}
