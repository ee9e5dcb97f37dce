"""The server as a whole: what stops it before it starts, and what must not stop it."""

import asyncio
from pathlib import Path

import pytest

from raincheck.app import keep_going, running
from raincheck.core.errors import SettingsInvalid
from raincheck.core.settings import Settings, UpstreamSettings
from tests.logs import logged
from tests.server import running_server


async def test_a_server_that_must_not_be_bound_starts_no_upstream(tmp_path: Path) -> None:
    """The embedded model's weights would be pulled for nothing."""
    nobody = UpstreamSettings(name="up", kind="python", handler="no.such:handler", models=("m",))
    settings = Settings(store_url=f"sqlite:///{tmp_path / 'it.db'}", host="0.0.0.0", upstreams=(nobody,))
    with pytest.raises(SettingsInvalid, match="Refusing to listen"):
        async with running(settings):
            pass


async def test_a_loop_goes_on_after_a_fault_of_its_own() -> None:
    rounds = list[int]()

    async def loop() -> None:
        rounds.append(1)
        if len(rounds) == 1:
            raise KeyError("a bug")

    with logged() as events:
        await keep_going("chore", loop, again_after=0)
    assert len(rounds) == 2
    assert [(each["event"], each["loop"], each["log_level"]) for each in events] == [
        ("server.loop_crashed", "chore", "error")
    ]


async def test_a_loop_can_be_cancelled() -> None:
    task = asyncio.create_task(keep_going("chore", asyncio.Event().wait))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_inside_the_server_is_told_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with running_server(tmp_path):
            raise ZeroDivisionError
