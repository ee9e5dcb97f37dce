"""Attempts that made files, between the answer and the record: outages, cancels and the end of the worker."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from raincheck.core.errors import StoreUnavailable
from raincheck.core.outcome import Made, Reply
from raincheck.core.status import Status
from raincheck.dispatch.loop import RECORD_WITHIN
from raincheck.store.blobs import BlobStore
from raincheck.upkeep.collect import Collector
from raincheck.upstream.protocol import Report, Work
from tests.dispatch.engine import Engine, Scripted, an_engine


async def films(work: Work, _: Report) -> Reply:
    """An upstream whose every answer is a file."""
    path = work.bench.folder / "film.mp4"
    path.write_bytes(b"film")
    return Reply(b"{}", made=(Made("film.mp4", path, "video/mp4"),))


@asynccontextmanager
async def filming(folder: Path, upstream: Scripted, **options: Any) -> AsyncGenerator[tuple[Engine, BlobStore]]:
    async with an_engine(folder, [upstream], keeps_files=True, **options) as engine:
        assert engine.objects is not None
        yield engine, engine.objects


class Stuck:
    """An object store that takes a body in part, and no more until it is let go on."""

    def __init__(self, objects: BlobStore) -> None:
        self.begun, self.going_on = asyncio.Event(), asyncio.Event()
        self._put: Callable[..., Awaitable[None]] = objects.put
        objects.put = self

    async def __call__(self, name: str, data: Any, **options: Any) -> None:
        self.begun.set()
        await self.going_on.wait()
        await self._put(name, data, **options)


def in_(folder: Path) -> list[Path]:
    return list((folder / "blobs").glob("*/**/*"))


async def until_over(engine: Engine) -> None:
    async with asyncio.timeout(2):
        while engine.dispatcher.running:
            await asyncio.sleep(0.005)


async def test_a_file_that_vanishes_before_it_was_put_away_is_made_again_g3(tmp_path: Path) -> None:
    upstream = Scripted(script=films)
    async with filming(tmp_path, upstream) as (engine, objects):
        stuck = Stuck(objects)
        id_ = await engine.submit()
        await stuck.begun.wait()
        for film in (tmp_path / "scratch").rglob("film.mp4"):
            film.unlink()
        stuck.going_on.set()
        assert (await engine.ended(id_)).status is Status.COMPLETED
        first, _ = await engine.store.requests.attempts("t", id_)
    assert first.error is not None
    assert (first.error.code, "film.mp4" in first.error.message) == ("adapter_error", True)


async def test_a_cancel_ends_the_putting_away_and_nothing_is_kept_g5(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raincheck.dispatch.stow.SETTLED_AFTER", 0)
    async with filming(tmp_path, Scripted(script=films)) as (engine, objects):
        stuck = Stuck(objects)
        id_ = await engine.submit()
        await stuck.begun.wait()
        await engine.store.requests.cancel("t", id_)
        await until_over(engine)
        await Collector(engine.store.blobs, objects).turn()
        assert in_(tmp_path) == []
        assert not list((tmp_path / "scratch").rglob("film.mp4"))


async def test_a_cancel_ends_the_waiting_for_an_object_store_that_is_away(tmp_path: Path) -> None:
    tried = asyncio.Event()

    async def away(*_: object, **__: object) -> None:
        tried.set()
        raise StoreUnavailable

    async with filming(tmp_path, Scripted(script=films)) as (engine, objects):
        objects.put = away
        id_ = await engine.submit()
        await tried.wait()
        await engine.store.requests.cancel("t", id_)
        await until_over(engine)


async def test_a_request_that_was_lost_at_the_very_last_keeps_nothing(tmp_path: Path) -> None:
    """No hint came, so its file was put away; only the record knew that it was over."""
    async with filming(tmp_path, Scripted(script=films)) as (engine, objects):
        stuck = Stuck(objects)
        id_ = await engine.submit()
        await stuck.begun.wait()
        held = engine.dispatcher.running.copy()
        engine.dispatcher.running.clear()
        await engine.store.requests.cancel("t", id_)
        engine.dispatcher.running.update(held)
        stuck.going_on.set()
        await until_over(engine)
        await Collector(engine.store.blobs, objects).turn()
        assert in_(tmp_path) == []


async def test_a_file_is_not_put_away_again_when_only_the_record_was_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raincheck.dispatch.outage.RETRY_STORE_AFTER", 0.01)
    async with filming(tmp_path, Scripted(script=films)) as (engine, objects):
        stuck, puts, outages = Stuck(objects), list[str](), 3
        stuck.going_on.set()
        finish = engine.store.leases.finish

        async def counted(name: str, data: Any, **options: Any) -> None:
            puts.append(name)
            await stuck(name, data, **options)

        async def shaky(finishes: Any) -> Any:
            nonlocal outages
            if outages:
                outages -= 1
                raise StoreUnavailable
            return await finish(finishes)

        objects.put = counted
        engine.store.leases.finish = shaky  # pyright: ignore[reportAttributeAccessIssue]
        assert (await engine.ended(await engine.submit())).status is Status.COMPLETED
    assert (len(puts), outages) == (1, 0)


async def test_while_files_cannot_be_put_away_no_more_are_made_than_there_are_places_g12(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk of the worker would fill up during an outage."""
    monkeypatch.setattr("raincheck.dispatch.outage.RETRY_STORE_AFTER", 0.01)
    upstream = Scripted(script=films)
    async with filming(tmp_path, upstream, places=2) as (engine, objects):
        stuck = Stuck(objects)
        ids = [await engine.submit() for _ in range(5)]
        await stuck.begun.wait()
        await engine.dispatcher.turn()
        assert len(upstream.works) == 2
        stuck.going_on.set()
        for id_ in ids:
            assert (await engine.ended(id_)).status is Status.COMPLETED


@pytest.mark.slow("waits out the time that outcomes get to be recorded")
async def test_a_closing_worker_gives_back_what_it_could_not_put_away(tmp_path: Path) -> None:
    async with filming(tmp_path, Scripted(script=films)) as (engine, objects):
        stuck = Stuck(objects)
        id_ = await engine.submit()
        await stuck.begun.wait()
        async with asyncio.timeout(RECORD_WITHIN):
            await engine.dispatcher.close(0)
        request = await engine.store.requests.get("t", id_)
    assert (request.status, request.attempt) == (Status.PENDING, 0)


async def test_without_an_object_store_no_video_is_begun(tmp_path: Path) -> None:
    """It would be paid for, and there is nowhere to keep it."""
    upstream = Scripted(script=films)
    async with an_engine(tmp_path, [upstream]) as engine:
        id_ = await engine.submit(queue="small/video", operation="video.generation", path="/videos/generations")
        request = await engine.ended(id_)
    assert request.error is not None
    assert (request.status, request.error.code, upstream.works) == (Status.FAILED, "no_object_store", [])
