"""The schema moves forward in numbered steps, each whole or not at all."""

# apsw types its values with collections.abc.Buffer, which is newer than our oldest Python.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from importlib import resources
from pathlib import Path

import apsw
import pytest

from raincheck.core.clock import MINUTE
from raincheck.core.errors import SchemaTooNew
from raincheck.core.events import Event
from raincheck.core.model import Limits, Remote, Tenant
from raincheck.core.status import Status
from raincheck.store.sqlite import open_store
from tests.store.builders import START, FakeClock, claimed, ids, status, submitted, success

clock = FakeClock()


def run(path: Path, sql: str) -> list[str]:
    """The first column, as text."""
    connection = apsw.Connection(str(path))
    rows = [f"{row[0]}" for row in connection.execute(sql).fetchall()]
    connection.close()
    return rows


def test_numbers_are_contiguous_from_one() -> None:
    folder = resources.files("raincheck.store.sqlite") / "migrations"
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


async def test_opening_again_keeps_what_is_there_and_notes_each_step_once(folder: Path) -> None:
    path = folder / "store.db"
    async with open_store(path, clock=clock.now) as store:
        [request] = await submitted(store)
    steps = run(path, "select number from migration order by number")
    async with open_store(path, clock=clock.now) as store:
        assert await status(store, request.id) is Status.PENDING
    assert run(path, "select number from migration order by number") == steps != []


FIRST = """
    create table migration (number integer primary key, name text not null, breaking integer not null) strict;
    insert into migration (number, name, breaking) values (1, 'first', 0);
    insert into queue (name, max_concurrency, paused_until, pause_reason, misses)
    values ('capped', 2, null, null, 0), ('paused', null, 1790000060000000, 'repairs', 3),
           ('plain', null, null, null, 0);
    insert into request (seq, id, tenant, queue, operation, path, model, priority, tag, max_attempts, created_at)
    values (1, 'req_1', 't', 'capped', 'chat.completion', '/chat/completions', 'm', 1, 1.0, 5, 1789999999000000),
           (2, 'req_2', 't', 'capped', 'chat.completion', '/chat/completions', 'm', 1, 2.0, 5, 1789999999000000),
           (3, 'req_3', 't', 'capped', 'chat.completion', '/chat/completions', 'm', 1, 3.0, 5, 1789999999000000);
    insert into payload (seq, body) values (1, x'7b7d'), (2, x'7b7d'), (3, x'7b7d');
    insert into flow (queue, priority, tenant, last_tag, weight, pending) values ('capped', 1, 't', 3.0, 1.0, 3);
    insert into tenant (name, weight, max_pending) values ('t', 2.0, 9);
"""
"""What a store of the first schema may hold."""


async def test_a_store_of_the_first_schema_keeps_its_requests_caps_and_pauses(folder: Path) -> None:
    """G3, G7."""
    path = folder / "store.db"
    first = resources.files("raincheck.store.sqlite") / "migrations" / "0001_first.sql"
    run(path, first.read_text() + FIRST)
    async with open_store(path, clock=clock.now) as store:
        capped, paused = await store.registry.throttles("queue")
        assert (capped.name, capped.limits) == ("capped", Limits(max_concurrency=2))
        assert (paused.name, paused.limits) == ("paused", Limits())
        assert (paused.paused_until, paused.pause_reason) == (START + MINUTE, "repairs")
        assert await store.registry.throttles("upstream") == []
        assert [queue.name for queue in await store.registry.queues()] == ["capped", "paused", "plain"]
        assert await store.registry.tenant("t") == Tenant("t", 2.0, 9)
        leases = await claimed(store, 9, queue="capped")
        assert ids(leases) == ["req_1", "req_2"]
        assert await store.leases.finish([success(lease) for lease in leases]) == []
        assert ids(await claimed(store, 9, queue="capped")) == ["req_3"]


SECOND = """
    insert into migration (number, name, breaking) values (2, 'limits', 1);
    insert into blob (name, doomed_at) values ('held', null), ('under way', 1790000060000000);
    insert into request (seq, id, tenant, queue, operation, path, model, status, priority, tag, max_attempts,
                         created_at, ended_at)
    values (4, 'req_4', 't', 'plain', 'chat.completion', '/chat/completions', 'm', 'completed', 1, 1.0, 5, 1, 2);
    insert into result (seq, status, content_type, body, blob, size)
    values (4, 200, 'text/plain', x'', 'held', 9);
    update request set remote_id = 'job-1' where seq = 1;
"""
"""What a store of the second schema may hold besides."""


async def test_a_store_of_the_second_schema_keeps_its_bodies_until_they_are_let_go(folder: Path) -> None:
    """G4, G12: and its remote jobs."""
    path = folder / "store.db"
    first, second = (
        (resources.files("raincheck.store.sqlite") / "migrations" / name).read_text()
        for name in ("0001_first.sql", "0002_limits.sql")
    )
    run(path, first + FIRST + second + SECOND)
    async with open_store(path, clock=clock.now) as store:
        assert await store.blobs.doomed(limit=9) == []
        result = await store.requests.result("t", "req_4")
        assert result is not None
        assert (result.blob, result.attachments) == ("held", ())
        await store.requests.delete("t", "req_4")
        assert await store.blobs.doomed(limit=9) == ["held"]
        [lease] = await claimed(store, queue="capped")
        assert lease.remote == Remote("up", "job-1")


THIRD = """
    insert into migration (number, name, breaking) values (3, 'attachments', 1);
    insert into event (seq, id, tenant, request_seq, type, webhook_url, created_at)
    values (7, 'evt_7', 't', 4, 'chat.completion.completed', 'https://h/', 2);
"""
"""What a store of the third schema may hold besides."""


async def test_a_store_of_the_third_schema_keeps_its_events(folder: Path) -> None:
    """G6."""
    path = folder / "store.db"
    first, second, third = (
        (resources.files("raincheck.store.sqlite") / "migrations" / name).read_text()
        for name in ("0001_first.sql", "0002_limits.sql", "0003_attachments.sql")
    )
    run(path, first + FIRST + second + SECOND + third + THIRD)
    async with open_store(path, clock=clock.now) as store:
        [event] = await store.upkeep.events("t", "req_4")
        assert event == Event("evt_7", "t", "chat.completion.completed", 2, "https://h/", "req_4")
        [lease] = await claimed(store, queue="capped")
        assert await store.leases.finish([success(lease)]) == []
        assert len(await store.upkeep.events("t", lease.fence.request_id)) == 1
        assert (await store.batches.list("t")).batches == []


async def test_a_newer_breaking_schema_is_refused_and_left_alone(folder: Path) -> None:
    path = folder / "store.db"
    async with open_store(path, clock=clock.now):
        pass
    run(path, "insert into migration (number, name, breaking) values (9000, 'later', 0), (9001, 'other', 1)")
    for own in (True, False):
        with pytest.raises(SchemaTooNew, match=r"9001.*upgrade Raincheck"):
            async with open_store(path, clock=clock.now, own=own):
                pass
    run(path, "delete from migration where number = 9001")
    async with open_store(path, clock=clock.now) as store:
        assert await submitted(store)


async def test_a_newer_schema_that_breaks_nothing_is_accepted(folder: Path) -> None:
    path = folder / "store.db"
    async with open_store(path, clock=clock.now):
        pass
    run(path, "insert into migration (number, name, breaking) values (9000, 'later', 0)")
    async with open_store(path, clock=clock.now) as store:
        assert await submitted(store)


async def test_a_step_that_fails_halfway_leaves_nothing_and_can_be_taken_later(folder: Path) -> None:
    path = folder / "store.db"
    run(path, "create table flow (in_the_way)")
    with pytest.raises(apsw.SQLError, match="flow already exists"):
        async with open_store(path, clock=clock.now):
            pass
    assert run(path, "select name from sqlite_master order by name") == ["flow", "migration"]
    assert run(path, "select number from migration") == []
    run(path, "drop table flow")
    async with open_store(path, clock=clock.now) as store:
        assert await submitted(store)
