"""Moving house: what was in the old store is in the new one, whatever happened on the way."""

# asyncpg and apsw ship no types, or partial ones.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import sys
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import apsw
import asyncpg
import pytest

from raincheck.core import clock as clocks
from raincheck.core.batches import Body, Conclusion, LineError
from raincheck.core.clock import HOUR, MINUTE, SECOND
from raincheck.core.errors import StoreUnavailable
from raincheck.core.ids import new_id
from raincheck.core.model import ApiKey, Beat, Limits, Remote, Tenant, Worker
from raincheck.core.settings import is_postgresql, sqlite_path
from raincheck.core.status import Status
from raincheck.store import copying, postgres, sqlite
from raincheck.store.copying import STAYS, TABLES, Compared, Ledger, Moving, Refused, Table, copy
from raincheck.store.protocol import Store
from tests.store.builders import (
    LEASE,
    RETENTION,
    FakeClock,
    a_batch,
    a_broken_line,
    a_line,
    a_part,
    a_request,
    accepted,
    an_input,
    an_open_batch,
    an_output,
    arrived,
    bounced,
    claimed,
    completed,
    ended,
    failure,
    feed,
    ids,
    leased,
    listening,
    posted,
    retry,
    running,
    sent,
    submitted,
    success,
    under_way,
    uploaded,
    with_a_job,
)
from tests.store.copier import ledger
from tests.store.postgres.databases import databases
from tests.store.postgres.databases import empty as bare
from tests.store.postgres.server import psql

ROOT = Path(__file__).parents[2]
KINDS = ("sqlite", "postgresql")
Empty = Callable[[str], Awaitable[str]]


@pytest.fixture
async def empty(folder: Path) -> AsyncGenerator[Empty]:
    """Makes the URL of an empty store of a kind."""
    lent = list[str]()
    numbers = iter(range(100))

    async def make(kind: str) -> str:
        if kind == "sqlite":
            return f"sqlite:///{folder / f'{next(numbers)}.db'}"
        lent.append(await databases().lend())
        return lent[-1]

    yield make
    for url in lent:
        await execute(url, "drop table if exists copying")
        databases().give_back(url)


def opened(url: str, clock: FakeClock) -> AbstractAsyncContextManager[Store]:
    if is_postgresql(url):
        return postgres.open_store(url, clock=clock.now, retention=RETENTION)
    # Beside another server, so that leases are not taken back.
    return sqlite.open_store(sqlite_path(url), clock=clock.now, retention=RETENTION, own=False)


async def execute(url: str, sql: str) -> list[tuple[Any, ...]]:
    """Run statements apart from everything under test; the rows of the last."""
    if is_postgresql(url):
        connection: Any = await asyncpg.connect(url)
        try:
            *before, last = sql.split("; ")
            for statement in before:
                await connection.execute(statement)
            found: Any = await connection.fetch(last)
            return [(*row,) for row in found]
        finally:
            await connection.close()
    file = apsw.Connection(str(sqlite_path(url)))
    rows = file.execute(sql).fetchall()
    file.close()
    return rows


def execute_now(url: str, sql: str) -> None:
    """The same from where nothing can be awaited."""
    if is_postgresql(url):
        psql(url, sql)
    else:
        file = apsw.Connection(str(sqlite_path(url)))
        file.execute(sql)
        file.close()


async def live_in(store: Store, clock: FakeClock) -> None:
    """Leave something in every table, in every status, by the roles' own doing."""
    await store.registry.put_tenant(
        Tenant("capped", weight=2.5, max_pending=100, max_running=1, max_body_bytes=1 << 20)
    )
    key = ApiKey(id=new_id("key"), tenant="t", name="läptop", hint="rc_abcde", scopes=frozenset({"read"}), created_at=1)
    await store.registry.add_key(key, b"\x00digest\xff")
    await store.registry.revoke_key(key.id)
    await store.registry.set_limits("queue", "small", Limits(max_concurrency="auto", rpm=1000, tpm=100_000))
    await store.registry.pause("upstream", "broken", until=clock.now() + HOUR)
    await store.blobs.expect("blob-1", keep_for=HOUR)
    await store.blobs.expect("blob-2", keep_for=HOUR)
    for _ in range(3):
        await completed(store, body=b"\x00\xff" * 50, tokens=7, metadata={"k": "wert 💧"}, webhook_url="https://h/")
    big = await running(store)
    assert (
        await store.leases.finish([success(big, b"", blob="blob-1", size=2 << 20, usage=b'{"total_tokens": 3}')]) == []
    )
    for outcome in (failure(await running(store)), failure(await running(store), Status.EXPIRED)):
        assert await store.leases.finish([outcome]) == []
    [cancelled, _] = await submitted(store, 2, deadline=clock.now() + HOUR, not_before=clock.now() + MINUTE)
    await store.requests.cancel("t", cancelled.id)
    waiting = await running(store, queue="flaky", idempotency_key="once", fingerprint=b"\x01\x00\x02")
    assert await store.leases.finish([retry(waiting, clock.now() + MINUTE)]) == []
    lease = await running(store, queue="long")
    await store.leases.extend([Beat(lease.fence, 0.25, "halb\nda", Remote("up", "remote-9"))], lease_for=LEASE)
    lost, made = await with_a_job(store), await running(store)
    assert await store.leases.finish([failure(lost), success(made, attachments=(an_output(),))]) == []
    await submitted(store, queue="waits", attachments=(await an_input(store),))
    await uploaded(store, "blob-1", filename="läufer.png", expires_at=clock.now() + HOUR)
    await store.registry.secret("links")
    await submitted(store, 4, queue="shared", tenant="capped")
    assert len(await claimed(store, 4, queue="shared")) == 1
    await submitted(store, 3, priority=a_request().priority, tenant="other")
    await hand_in_batches(store, clock)
    await post(store, clock)


async def post(store: Store, clock: FakeClock) -> None:
    """Deliveries that have arrived, that wait, that are parked, and one that is being sent."""
    endpoint = await listening(store, "*", "video.progress", name="läufer", include_result=True)
    await store.endpoints.rotate("t", endpoint.id, "whsec_new", overlap=HOUR)
    await store.endpoints.signing_key("t", offered="whsec_t")
    for _ in range(4):
        await ended(store, None, queue="told")
    first, second = [lease for lease in await posted(store) if lease.delivery.endpoint_id]
    await sent(store, arrived(first), places=1)
    await sent(store, bounced(second, clock.now() + HOUR), places=1)
    assert len(await posted(store, 1)) == 1


async def hand_in_batches(store: Store, clock: FakeClock) -> None:
    """One in progress, with rows that have ended and lines that are not fed, one refused, one concluded."""
    await store.blobs.expect("blob-3", keep_for=HOUR)
    lease = await under_way(store, 9, queue="batched", idempotency_key="k", fingerprint=b"\x00f", metadata={"k": "💧"})
    await feed(store, lease, [a_line(1, queue="batched"), a_broken_line(2), a_line(4, queue="batched")])
    [row] = await claimed(store, queue="batched")
    assert await store.leases.finish([success(row, usage=b'{"total_tokens": 3, "cost_in_usd_ticks": 7}')]) == []
    await store.batches.create(a_batch(tenant="else"))
    bad = await leased(store)
    await store.batches.refuse(bad.fence, [LineError("bad", "läufer", 7)])
    many = (await store.batches.create(an_open_batch(webhook_url="https://h/"))).batch
    await store.batches.add("t", many.id, a_part("a", "b", queue="batched", idempotency_key="k"))
    body = Body(size=9, digest="ab" * 32, blob="blob-3")
    await store.batches.add("t", many.id, a_part("c", queue="batched", body=body))
    await store.batches.cancel("t", many.id, limit=9)
    await store.batches.conclude((await leased(store, many)).fence, Conclusion())


async def rows(ledger: Ledger, table: Table) -> list[copying.Row]:
    """All rows, in an order that is the same for both kinds."""
    found, after = list[copying.Row](), None
    while bite := await ledger.read(table, after):
        found += bite
        after = table.key_of(bite[-1])
    return sorted(found, key=repr)


async def contents(url: str) -> dict[str, list[copying.Row]]:
    async with ledger(url) as opened:
        return {table.name: await rows(opened, table) for table in TABLES}


async def moved(source: str, target: str, **options: Any) -> copying.Report:
    async with ledger(source, existing=True) as old:
        return await copy(old, ledger(target), **options)


# --- a move


@pytest.mark.slow("makes databases")
@pytest.mark.parametrize("new", KINDS)
@pytest.mark.parametrize("old", KINDS)
async def test_everything_moves_and_nothing_is_renumbered(old: str, new: str, empty: Empty):
    source, target, clock = await empty(old), await empty(new), FakeClock()
    async with opened(source, clock) as store:
        await live_in(store, clock)
    before = await contents(source)
    assert [name for name, found in before.items() if not found] == []
    assert {row[7] for row in before["request"]} == set(Status)

    report = await moved(source, target)

    assert report.equal
    assert report.copied == sum(map(len, before.values()))
    assert not report.resumed
    assert await contents(target) == before == await contents(source)


@pytest.mark.slow("makes databases")
@pytest.mark.parametrize("new", KINDS)
@pytest.mark.parametrize("old", KINDS)
async def test_a_result_in_the_object_store_is_the_same_in_the_new_house(old: str, new: str, empty: Empty):
    """G1."""
    source, target, clock = await empty(old), await empty(new), FakeClock()
    async with opened(source, clock) as store:
        lease = await running(store)
        await store.leases.finish([success(lease, b"", blob="blob-1", size=2 << 20)])
        before = await store.requests.result("t", lease.fence.request_id)
        unsuccessful = await running(store)
        await store.leases.finish([failure(unsuccessful)])
    await moved(source, target)
    async with opened(target, clock) as store:
        after = await store.requests.result("t", lease.fence.request_id)
        assert after is not None
        assert after == before
        assert (after.blob, after.size) == ("blob-1", 2 << 20)
        assert await store.requests.result("t", unsuccessful.fence.request_id) is None


@pytest.mark.slow("makes databases")
@pytest.mark.parametrize("new", KINDS)
async def test_a_lease_moves_with_its_request_and_lapses_in_the_new_house(new: str, empty: Empty):
    """G2: a fence of the old house is as good in the new one, until someone claims again."""
    source, target, clock = await empty("sqlite"), await empty(new), FakeClock()
    async with opened(source, clock) as store:
        kept, lost = await running(store), await running(store)
        waiting = await submitted(store, queue="other", idempotency_key="k", fingerprint=b"f")
    await moved(source, target)
    async with opened(target, clock) as store:
        assert await store.leases.finish([success(kept)]) == []
        clock.advance(seconds=61)
        [again] = await claimed(store, 5)
        assert ids([again]) == [lost.fence.request_id]
        assert again.fence.number > lost.fence.number
        assert await store.leases.finish([success(lost)]) == [lost.fence]
        [repeat] = await store.requests.submit([a_request(queue="other", idempotency_key="k", fingerprint=b"f")])
        assert accepted(repeat).repeated
        assert accepted(repeat).request.id == waiting[0].id


@pytest.mark.slow("makes databases")
@pytest.mark.parametrize("new", KINDS)
async def test_numbers_go_on_behind_the_highest(new: str, empty: Empty):
    source, target, clock = await empty("sqlite"), await empty(new), FakeClock()

    async def more(store: Store) -> None:
        await uploaded(store)
        lease = await with_a_job(store)
        await store.leases.finish([failure(lease)])

    async with opened(source, clock) as store:
        await more(store)
        await submitted(store, 5, queue="other")
    await moved(source, target)
    async with opened(target, clock) as store:
        await more(store)
    assert await execute(target, "select max(seq), count(*) from request") == [(7, 7)]
    for table, number in (("event", "seq"), ("file", "seq"), ("stray", "id")):
        assert await execute(target, f"select max({number}), count(*) from {table}") == [(2, 2)]


@pytest.mark.slow("makes databases")
@pytest.mark.parametrize("new", KINDS)
async def test_files_links_and_remote_jobs_are_as_good_in_the_new_house(new: str, empty: Empty):
    """G4, G12: who holds a body holds it there too, and a job is gone on with."""
    source, target, clock = await empty("sqlite"), await empty(new), FakeClock()
    async with opened(source, clock) as store:
        given = await an_input(store, "shared")
        lease = await with_a_job(store, attachments=(given,))
        file = await uploaded(store, "shared")
        secret = await store.registry.secret("links")
    await moved(source, target)
    async with opened(target, clock) as store:
        assert await store.registry.secret("links") == secret
        clock.advance(seconds=LEASE / SECOND)
        [again] = await claimed(store)
        assert again.remote == Remote("up", "job-7")
        assert await store.requests.attachments("t", lease.fence.request_id) == [given]
        await store.files.delete("t", file.id)
        assert await store.blobs.doomed(limit=9) == []
        await store.requests.cancel("t", lease.fence.request_id)
        await store.requests.delete("t", lease.fence.request_id)
        assert await store.blobs.doomed(limit=9) == ["shared"]
        assert [stray.remote for stray in await store.strays.due(["up"], limit=9)] == [Remote("up", "job-7")]


@pytest.mark.slow("makes databases")
async def test_texts_with_nul_are_cleaned_counted_and_compared_as_they_are_kept(empty: Empty):
    source, target, clock = await empty("sqlite"), await empty("postgresql"), FakeClock()
    async with opened(source, clock) as store:
        lease = await running(store)
        await store.leases.extend([Beat(lease.fence, 0.5, "half\0way")], lease_for=LEASE)
    report = await moved(source, target)
    assert report.equal
    assert {one.table: one.cleaned for one in report.tables if one.cleaned} == {"request": 1}
    assert await execute(target, "select progress_message from request") == [("half\ufffdway",)]


@pytest.mark.slow("makes databases")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_bite_of_large_bodies_is_small_in_number(kind: str, empty: Empty):
    source, clock = await empty(kind), FakeClock()
    async with opened(source, clock) as store:
        for _ in range(3):
            await submitted(store, payload=b"x" * (6 << 20))
        await submitted(store, 10)
    payload, after, bites = TABLES[0], None, list[int]()
    async with ledger(source) as opened_again:
        while bite := await opened_again.read(payload, after):
            after = payload.key_of(bite[-1])
            bites.append(len(bite))
    assert bites == [2, 11]


# --- what goes wrong on the way


async def fill(path: Path, how_many: int) -> None:
    """Many requests, as they would lie there."""
    database = sqlite.Database(path, clocks.now, own=True)
    request = (
        "insert into request (seq, id, tenant, queue, operation, path, model, status, priority, tag, max_attempts,"
        " created_at) values (?1, 'req_' || ?1, 't', 'q', 'o', 'p', 'm', 'pending', 1, ?1 * 0.5, 5, 1)"
    )

    def write(tx: Any) -> None:
        numbers = [(number,) for number in range(1, how_many + 1)]
        tx.connection.executemany(request, numbers)
        tx.connection.executemany("insert into payload (seq, body) values (?1, zeroblob(300))", numbers)
        tx.connection.executemany(
            "insert into seen (tenant, key, fingerprint, request_seq) values ('t', 'key ' || ?1, x'00', ?1)", numbers
        )

    await database.write(write)
    await database.close()


async def killed_after(source: str, target: str, bites: int) -> None:
    """Copy in a process of its own, and `kill -9` it after so many bites."""
    arguments = ("-m", "tests.store.copier", source, target)
    process = await create_subprocess_exec(sys.executable, *arguments, cwd=ROOT, stdout=PIPE)
    assert process.stdout is not None
    for _ in range(bites):
        assert (await process.stdout.readline()).startswith(b"copying ")
    process.kill()
    await process.wait()


@pytest.mark.slow("copies 60,000 rows, in processes that are killed")
@pytest.mark.parametrize("new", KINDS)
async def test_a_copy_that_was_killed_goes_on_where_it_was(new: str, empty: Empty):
    source, target = await empty("sqlite"), await empty(new)
    await fill(sqlite_path(source), 20_000)
    await killed_after(source, target, 2)
    await killed_after(source, target, 4)
    [(there,)] = await execute(target, "select (select count(*) from payload) + (select count(*) from seen)")
    assert 6 * copying.BITE_ROWS <= there <= 40_000
    report = await moved(source, target)
    assert report.resumed
    assert 0 < report.copied <= 60_000 - there
    assert report.equal
    assert sum(one.target_rows for one in report.tables) == 60_000


@pytest.mark.slow("makes databases")
@pytest.mark.parametrize("new", KINDS)
async def test_a_row_that_was_changed_meanwhile_is_found(new: str, empty: Empty):
    source, target, clock = await empty("sqlite"), await empty(new), FakeClock()
    async with opened(source, clock) as store:
        await submitted(store, 20)

    def meddle(moving: Moving) -> None:
        if moving.stage == "comparing":
            execute_now(target, "update request set path = '/other' where seq = 7")

    report = await moved(source, target, watch=meddle)
    assert [one.table for one in report.tables if not one.equal] == ["request"]
    assert not report.equal
    with pytest.raises(StoreUnavailable, match="was not finished"):
        async with opened(target, clock):
            pass
    again = await moved(source, target)
    assert (again.equal, again.resumed, again.copied) == (False, True, 0)


# --- what is refused


async def refused(source: str, target: str, **options: Any) -> str:
    with pytest.raises(Refused) as refusal:
        await moved(source, target, **options)
    return str(refusal.value)


@pytest.mark.slow("makes databases")
@pytest.mark.parametrize("new", KINDS)
async def test_a_target_must_be_empty_or_hold_a_part_of_this_very_copy(new: str, empty: Empty):
    source, other, target, clock = await empty("sqlite"), await empty("sqlite"), await empty(new), FakeClock()
    async with opened(source, clock) as store:
        await submitted(store)
    async with opened(other, clock) as store:
        await submitted(store)

    def stop(moving: Moving) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        await moved(source, target, watch=stop)
    with pytest.raises(StoreUnavailable, match="was not finished"):
        async with opened(target, clock):
            pass
    assert "a copy into the source was not finished" in await refused(target, await empty("sqlite"))
    assert "a part of another store" in await refused(other, target)
    assert (await moved(source, target)).equal
    assert "not empty (there are rows in payload" in await refused(source, target)


@pytest.mark.slow("makes databases")
async def test_a_store_is_not_copied_into_itself_by_another_name(empty: Empty):
    for kind in KINDS:
        url, clock = await empty(kind), FakeClock()
        async with opened(url, clock) as store:
            await submitted(store)
        same = f"{url}?application_name=other" if is_postgresql(url) else url
        assert ("the same store" if is_postgresql(url) else "in use by process") in await refused(url, same)


async def test_a_store_that_a_server_owns_is_not_touched(empty: Empty):
    source, target, clock = await empty("sqlite"), await empty("sqlite"), FakeClock()
    async with sqlite.open_store(sqlite_path(source), clock=clock.now):
        told = await refused(source, target)
        assert "in use by process" in told
        assert told.endswith("Stop that server first.")
    assert (await moved(source, target)).equal


async def test_a_source_must_be_there(empty: Empty):
    source = await empty("sqlite")
    assert "there is no store" in await refused(source, await empty("sqlite"))
    assert not sqlite_path(source).exists()


@pytest.mark.slow("makes databases")
async def test_workers_that_were_seen_a_moment_ago_are_in_the_way_unless_forced(empty: Empty):
    source, target = await empty("postgresql"), await empty("sqlite")
    async with postgres.open_store(source) as store:
        moment = clocks.now()
        await store.registry.put_worker(
            Worker(name="gpu-7", host="h", pid=1, version="1", started_at=moment, seen_at=moment)
        )
    assert "gpu-7 was seen in the last minute" in await refused(source, target)
    assert (await moved(source, target, force=True)).equal


@pytest.mark.slow("makes databases")
async def test_nobody_writes_to_a_source_that_is_being_copied(empty: Empty):
    source = await empty("postgresql")
    async with ledger(source) as held:
        await held.hold()
        with pytest.raises(asyncpg.LockNotAvailableError):
            await execute(source, "set lock_timeout = '50ms'; update request set fence = 1")
        assert await execute(source, "select count(*) from request") == [(0,)]
    await execute(source, "update request set fence = 1")


@pytest.mark.slow("makes a database, and waits for the locks of two that are in each other's way")
async def test_a_source_that_others_write_to_is_refused_and_not_fallen_over(empty: Empty):
    source = await empty("postgresql")

    async def update(writer: Any) -> None:
        await writer.execute("update payload set body = body")

    async with ledger(source) as held:
        writer: Any = await asyncpg.connect(source)
        await writer.execute("begin; set local deadlock_timeout = '1min'; update request set fence = 1")
        waits = asyncio.create_task(held.hold())
        while not await writer.fetchval("select exists (select 1 from pg_locks where not granted)"):
            await asyncio.sleep(0.01)
        # Payload is locked already: each now waits for the other, and the one that looks first gives way.
        blocked = asyncio.create_task(update(writer))
        with pytest.raises(Refused, match="someone is writing to the source"):
            await waits
        await blocked
        await writer.close()


@pytest.mark.slow("makes databases")
async def test_a_database_that_holds_no_store_is_no_source_and_is_left_as_it_is(tmp_path: Path, empty: Empty):
    async with bare() as other:
        assert "there is no store" in await refused(other, await empty("sqlite"))
        assert psql(other, "select count(*) from pg_class where relnamespace = 'public'::regnamespace").strip() == "0"
    file = f"sqlite:///{tmp_path / 'other.db'}"
    await execute(file, "create table invoice (x integer)")
    assert "there is no store" in await refused(file, await empty("sqlite"))
    assert await execute(file, "select name from sqlite_schema") == [("invoice",)]
    assert [each.name for each in tmp_path.iterdir()] == ["other.db"]


@pytest.mark.slow("makes databases")
@pytest.mark.parametrize("old", KINDS)
async def test_a_schema_that_is_not_known_is_not_copied_in_part(old: str, empty: Empty):
    source, target = await empty(old), await empty("sqlite")
    async with opened(source, FakeClock()):
        pass
    await execute(source, "alter table seen add column colour text")
    told = await refused(source, target)
    await execute(source, "alter table seen drop column colour")
    assert "table seen: colour" in told
    assert "source" in told
    await execute(source, "create table novelty (x integer)")
    told = await refused(source, target)
    await execute(source, "drop table novelty")
    assert "table novelty is only in the store" in told


@pytest.mark.slow("makes databases")
async def test_a_value_that_the_target_cannot_keep_is_told_with_its_table(empty: Empty):
    source, target, clock = await empty("sqlite"), await empty("postgresql"), FakeClock()
    async with opened(source, clock) as store:
        await store.registry.put_tenant(Tenant("t", max_pending=1 << 40))
    assert "a row of table tenant does not fit" in await refused(source, target)


# --- nothing is forgotten


@pytest.mark.slow("makes databases")
@pytest.mark.parametrize("kind", KINDS)
async def test_every_table_and_column_of_the_schema_moves(kind: str, empty: Empty):
    async with ledger(await empty(kind)) as opened:
        found = await opened.columns()
    assert {name: columns for name, columns in found.items() if name not in STAYS} == {
        table.name: frozenset(table.columns) for table in TABLES
    }
    assert copying.schema_problem(found) is None


@pytest.mark.slow("makes databases")
async def test_flags_and_keys_are_those_of_the_schema(empty: Empty):
    url = await empty("postgresql")
    flags = await execute(
        url,
        "select table_name::text, column_name::text from information_schema.columns c"
        " join information_schema.tables t using (table_schema, table_name)"
        " where table_schema = current_schema() and c.data_type = 'boolean' and table_type = 'BASE TABLE'"
        " and table_name != 'migration'",
    )
    assert sorted(flags) == sorted((table.name, name) for table in TABLES for name in table.flags)
    keys = await execute(
        url,
        "select conrelid::regclass::text, array_agg(a.attname::text order by position)"
        " from pg_constraint c, unnest(c.conkey) with ordinality k (number, position)"
        " join pg_attribute a on a.attnum = k.number"
        " where contype = 'p' and connamespace = current_schema()::regnamespace and a.attrelid = conrelid group by 1",
    )
    assert {table.name: list(table.key) for table in TABLES}.items() <= dict(keys).items()


def test_a_difference_in_either_number_or_digest_counts():
    same = Compared("t", 1, "a", 1, "a")
    assert same.equal
    assert not Compared("t", 1, "a", 2, "a").equal
    assert not Compared("t", 1, "a", 1, "b").equal
