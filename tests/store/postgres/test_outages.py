"""What can happen between us and PostgreSQL: nothing is lost, nothing is claimed that is not so, nobody restarts us."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import count

import asyncpg
import pytest

from raincheck.core.errors import SettingsInvalid, StoreUnavailable
from raincheck.store.postgres import database as databases
from raincheck.store.postgres import pool, witness
from raincheck.store.postgres.database import Database, Row, Transaction, connect
from raincheck.store.postgres.outages import OUTAGES, unavailable
from tests.store.postgres.conftest import opened
from tests.store.postgres.proxy import AtCommit, Proxy
from tests.store.postgres.server import PostgresServer


@pytest.fixture
async def database(proxy: Proxy) -> AsyncIterator[Database]:
    async with opened(proxy.url) as database:
        yield database


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds become tenths."""
    monkeypatch.setattr(databases, "BEGIN_WITHIN", 0.3)
    monkeypatch.setattr(pool, "ACQUIRE_WITHIN", 0.3)
    monkeypatch.setattr(pool, "STATEMENT_WITHIN", 0.3)
    monkeypatch.setattr(witness, "RESOLVE_WITHIN", 1.0)
    monkeypatch.setattr(witness, "CONNECT_WITHIN", 0.3)


@pytest.fixture
def impatient_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "BEGIN", databases.BEGIN.replace("10s", "100ms"))


async def keep(database: Database, word: str, *, durable: bool = True) -> str:
    async def insert(tx: Transaction) -> str:
        await tx.run("insert into kept (word) values ($1)", word)
        return word

    return await database.write(insert, durable=durable)


async def keep_on(database: Database) -> None:
    """Until it fails: what an operator changes, a backend hears of a moment later."""
    for number in count():
        await keep(database, f"meanwhile {number}")


async def kept(database: Database) -> list[str]:
    return [row["word"] for row in await database.all("select word from kept order by word")]


@pytest.mark.slow("starts a server")
@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_restarted_server_is_found_again_by_itself(
    server: PostgresServer, database: Database, mode: str
) -> None:
    await asyncio.gather(*(keep(database, f"before {number}") for number in range(5)))
    server.stop("fast" if mode == "fast" else "immediate")

    with pytest.raises(StoreUnavailable) as refusal:
        await keep(database, "meanwhile")
    with pytest.raises(StoreUnavailable):
        await kept(database)
    assert refusal.value.retry_after == 5
    assert "127.0.0.1" in refusal.value.message

    server.start()
    assert await keep(database, "after") == "after"
    assert len(await kept(database)) == 6


async def test_a_killed_server_is_found_again_by_itself(server: PostgresServer, database: Database) -> None:
    await keep(database, "before")
    server.kill()
    with pytest.raises(StoreUnavailable):
        await keep(database, "meanwhile")
    server.start()
    await keep(database, "after")
    assert await kept(database) == ["after", "before"]


async def test_an_idle_connection_that_was_ended_by_an_operator_is_replaced_unseen(
    server: PostgresServer, database: Database
) -> None:
    await keep(database, "before")
    end_all_others(server)
    await keep(database, "after")
    end_all_others(server)
    assert await kept(database) == ["after", "before"]


async def test_a_transaction_whose_backend_is_ended_is_refused_and_undone(
    server: PostgresServer, database: Database
) -> None:
    async def insert(tx: Transaction) -> None:
        await tx.run("insert into kept (word) values ('half')")
        end_all_others(server)
        await tx.run("insert into kept (word) values ('whole')")

    with pytest.raises(StoreUnavailable):
        await database.write(insert)
    assert await kept(database) == []


@pytest.mark.slow("waits for what never comes")
async def test_a_silent_network_is_an_outage_and_not_a_wait(impatient: None, proxy: Proxy, database: Database) -> None:
    await asyncio.gather(*(keep(database, f"before {number}") for number in range(3)))
    proxy.silence()
    async with asyncio.timeout(5):
        answers = await asyncio.gather(
            *(keep(database, f"meanwhile {number}") for number in range(20)), kept(database), return_exceptions=True
        )
    assert {type(answer) for answer in answers} == {StoreUnavailable}
    proxy.restore()
    await keep(database, "after")
    assert "after" in await kept(database)


async def test_all_connections_in_use_is_an_outage_that_passes(impatient: None, proxy: Proxy) -> None:
    taken, let_go = asyncio.Barrier(3), asyncio.Event()

    async def occupy(_: Transaction) -> None:
        await taken.wait()
        await let_go.wait()

    async with opened(f"{proxy.url}?pool=2") as database:
        occupied = [asyncio.create_task(database.write(occupy)) for _ in range(2)]
        await taken.wait()
        with pytest.raises(StoreUnavailable, match="in use"):
            await keep(database, "meanwhile")
        let_go.set()
        await asyncio.gather(*occupied)
        await keep(database, "after")


async def test_too_many_connections_says_what_to_change(server: PostgresServer, database: Database) -> None:
    async with opened(f"{server.url()}?pool=40") as greedy:
        gate = asyncio.Barrier(30)

        async def occupy(_: Transaction) -> None:
            await gate.wait()

        occupied = [asyncio.create_task(greedy.write(occupy)) for _ in range(29)]
        done, _ = await asyncio.wait(occupied, return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(StoreUnavailable, match="lower pool="):
            done.pop().result()
        await gate.abort()
        await asyncio.gather(*occupied, return_exceptions=True)
    await keep(database, "after")


async def test_a_server_that_became_a_standby_is_left_for_the_new_primary(
    server: PostgresServer, database: Database
) -> None:
    await keep(database, "before")
    [before] = await database.all("select pg_backend_pid() as process")
    server.set_read_only(True)
    with pytest.raises(StoreUnavailable, match="read-only"):
        await keep_on(database)
    [after] = await database.all("select pg_backend_pid() as process")
    assert after["process"] != before["process"]
    server.set_read_only(False)
    async with asyncio.timeout(10):
        while "after" not in await kept(database):
            with suppress(StoreUnavailable):  # A backend hears of the change a moment later.
                await keep(database, "after")
    assert {"after", "before"} <= set(await kept(database))


@pytest.mark.slow("starts a second server")
async def test_of_several_hosts_the_one_that_takes_writes_is_used(server: PostgresServer) -> None:
    with PostgresServer() as standby:
        async with opened(server.url()), opened(standby.url()):
            pass  # Both have their tables.
        server.set_read_only(True)
        hosts = f"postgresql://postgres@127.0.0.1:{server.port},127.0.0.1:{standby.port}/postgres"
        async with opened(hosts) as database:
            [row] = await database.all("select current_setting('port')::int as port")
            assert row["port"] == standby.port


@pytest.mark.parametrize("fate", AtCommit)
async def test_a_commit_whose_answer_was_lost_is_found_out(
    impatient: None, impatient_server: None, proxy: Proxy, database: Database, fate: AtCommit
) -> None:
    """G1: never a false success, and never a false failure while the database can still be asked."""
    await keep(database, "before")
    proxy.at_commit = fate
    if fate is AtCommit.CUT_AFTER:
        assert await keep(database, "lost") == "lost"
        assert await kept(database) == ["before", "lost"]
    else:
        with pytest.raises(StoreUnavailable, match="Nothing was accepted"):
            await keep(database, "lost")
        assert await kept(database) == ["before"]
        await keep(database, "lost")  # Again: the lost one holds nothing any more.


@pytest.mark.parametrize("fate", AtCommit)
async def test_the_very_first_commit_can_be_found_out_too(
    impatient: None, proxy: Proxy, database: Database, fate: AtCommit
) -> None:
    """G1."""
    proxy.at_commit = fate
    [answer] = await asyncio.gather(keep(database, "lost"), return_exceptions=True)
    assert (answer == "lost") == (await kept(database) == ["lost"]) == (fate is AtCommit.CUT_AFTER)


@pytest.mark.slow("waits for what does not come")
async def test_a_commit_that_nobody_can_ask_about_is_never_called_a_success(
    impatient: None, server: PostgresServer, proxy: Proxy, database: Database
) -> None:
    """G1."""
    await keep(database, "before")
    proxy.at_commit = AtCommit.CUT_AFTER
    losing = asyncio.create_task(keep(database, "lost"))
    await proxy.lost_commit.wait()
    server.stop("immediate")
    with pytest.raises(StoreUnavailable, match="Idempotency-Key"):
        await losing
    server.start()
    await keep(database, "after")


async def test_a_statement_that_waits_too_long_for_a_lock_gives_up(
    monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    monkeypatch.setattr(databases, "BEGIN", databases.BEGIN.replace("15s", "100ms"))
    locked, waiting = asyncio.Event(), asyncio.Event()

    async def hold(tx: Transaction) -> None:
        await tx.run("insert into kept (word) values ('held')")
        locked.set()
        await waiting.wait()

    holder = asyncio.create_task(database.write(hold))
    await locked.wait()
    with pytest.raises(StoreUnavailable):
        await keep(database, "held")
    waiting.set()
    await holder
    assert await kept(database) == ["held"]


async def test_a_read_that_takes_too_long_is_ended_on_the_server_and_costs_no_connection(
    monkeypatch: pytest.MonkeyPatch, server: PostgresServer, database: Database
) -> None:
    monkeypatch.setattr(databases, "BEGIN", databases.BEGIN.replace("15s", "100ms"))
    await asyncio.gather(*(keep(database, f"before {number}") for number in range(3)))
    before = {row["pid"] for row in await connections(database)}
    assert len(before) >= 3
    with pytest.raises(StoreUnavailable, match=r"\(it did not answer in time\)"):
        await database.read_apart("select pg_sleep(60)")
    assert {row["pid"] for row in await connections(database)} == before
    asleep = "select count(*) from pg_stat_activity where query = 'select pg_sleep(60)' and state = 'active'"
    assert server.psql(asleep) == "0"


async def connections(database: Database) -> list[Row]:
    return await database.read_apart("select pid from pg_stat_activity where application_name = 'raincheck'")


async def test_long_reads_leave_connections_for_submits_even_when_nobody_waits_for_them(
    monkeypatch: pytest.MonkeyPatch, impatient: None, proxy: Proxy
) -> None:
    """G1."""
    monkeypatch.setattr(pool, "STATEMENT_WITHIN", 5.0)
    monkeypatch.setattr(databases, "ACQUIRE_WITHIN", 0.1)
    async with opened(f"{proxy.url}?pool=6") as database:
        given_up = [asyncio.create_task(database.read_apart("select pg_sleep(0.4)")) for _ in range(2)]
        await asyncio.sleep(0)
        for reading in given_up:
            reading.cancel()
        with pytest.raises(StoreUnavailable, match="in use"):
            await database.read_apart("select 1")
        await asyncio.gather(*(keep(database, f"meanwhile {number}") for number in range(12)))
        async with asyncio.timeout(5):
            while True:
                with suppress(StoreUnavailable):
                    assert len(await database.read_apart("select 1")) == 1
                    break


async def test_a_client_that_vanishes_in_the_middle_does_not_hold_its_locks_for_long(
    impatient: None, impatient_server: None, server: PostgresServer, proxy: Proxy, database: Database
) -> None:
    async def vanish(tx: Transaction) -> None:
        await tx.run("insert into kept (word) values ('held')")
        proxy.silence()
        await tx.run("select 1")

    with pytest.raises(StoreUnavailable):
        await database.write(vanish)
    async with opened(server.url()) as other:
        await keep(other, "held")


@pytest.mark.slow("the server looks for deadlocks after a second")
async def test_transactions_that_are_in_each_others_way_are_tried_again(database: Database) -> None:
    await keep(database, "a")
    await keep(database, "b")
    first_locks = asyncio.Barrier(2)
    tries = 0

    async def lock(tx: Transaction, *words: str) -> None:
        nonlocal tries
        tries += 1
        for word in words:
            await tx.run("update kept set word = word where word = $1", word)
            if tries <= 2 and word == words[0]:
                await first_locks.wait()

    await asyncio.gather(database.write(lambda tx: lock(tx, "a", "b")), database.write(lambda tx: lock(tx, "b", "a")))
    assert tries in (3, 4)  # The server may break off both.


async def test_a_caller_that_stops_waiting_leaves_a_whole_transaction(database: Database) -> None:
    begun = asyncio.Event()

    async def insert(tx: Transaction) -> None:
        await tx.run("insert into kept (word) values ('one')")
        begun.set()
        await tx.run("select pg_sleep(0.05)")
        await tx.run("insert into kept (word) values ('two')")

    caller = asyncio.create_task(database.write(insert))
    await begun.wait()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    await database.close()
    async with opened(database.address.dsn) as again:
        assert await kept(again) == ["one", "two"]


async def test_a_mistake_of_ours_is_not_called_an_outage(database: Database) -> None:
    async def wrong(tx: Transaction) -> None:
        await tx.run("insert into kept (word) values ('undone')")
        await tx.run("select $1::int", "one", "two")

    with pytest.raises(asyncpg.InterfaceError, match="expects 1 argument"):
        await database.write(wrong)
    assert await kept(database) == []


async def test_a_commit_that_the_database_turned_into_a_rollback_is_no_success(database: Database) -> None:
    """G1."""

    async def swallow(tx: Transaction) -> None:
        await tx.run("insert into kept (word) values ('undone')")
        try:
            await tx.run("select 1/0")
        except Exception:  # noqa: BLE001 - the mistake this test is about
            return

    for durable in (True, False):
        with pytest.raises(Exception, match=r"aborted|ROLLBACK"):
            await database.write(swallow, durable=durable)
    assert await kept(database) == []


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        (
            "postgresql://u:geheim@127.0.0.1:1/db",
            StoreUnavailable,
            "db at 127.0.0.1:1 cannot be opened: nothing listens",
        ),
        ("postgresql://u:geheim@nowhere.invalid/db", StoreUnavailable, "db at nowhere.invalid cannot be opened"),
        ("postgresql://u:geh/eim@h/db", SettingsInvalid, "percent-encoded"),
        ("postgresql://u:geheim@h:99999/db", SettingsInvalid, "percent-encoded"),
        ("postgresql://u:geheim@a..b/db", SettingsInvalid, "percent-encoded"),
        (f"postgresql://u:geheim@{'h' * 70}/db", SettingsInvalid, "percent-encoded"),
        (f"postgresql://u:geheim@ok,{'h' * 70}:5433/db", SettingsInvalid, "percent-encoded"),
        ("postgresql://u:geheim@h/db?pool=many", SettingsInvalid, "pool is a whole number"),
        ("postgresql://u:geheim@127.0.0.1:1/db?sslmode=perhaps", SettingsInvalid, "sslmode"),
        ("postgresql://u:geheim@127.0.0.1:1/db?target_session_attrs=best", SettingsInvalid, "target_session_attrs"),
    ],
)
async def test_what_is_wrong_with_the_address_is_said_without_the_password(
    url: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as failure:
        await connect(url, None)
    assert words in str(failure.value)
    assert "geh" not in str(failure.value)
    assert "geheim" not in repr(failure.value.__context__)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (asyncpg.InternalClientError("cannot switch to state 12"), "(the connection broke)"),
        (asyncpg.QueryCanceledError("canceling statement due to statement timeout"), "(it did not answer in time)"),
    ],
)
def test_what_only_asyncpg_understands_is_said_in_words(error: Exception, words: str) -> None:
    assert isinstance(error, OUTAGES)
    assert words in unavailable(error).message


async def test_a_database_or_user_that_is_not_there_is_named(server: PostgresServer) -> None:
    with pytest.raises(StoreUnavailable, match='"missing" does not exist; create it first'):
        await connect(server.url("missing"), None)
    with pytest.raises(StoreUnavailable, match='role "nobody" does not exist; check user and password'):
        await connect(server.url().replace("postgres@", "nobody:geheim@"), None)


async def test_an_old_server_is_refused(proxy: Proxy) -> None:
    proxy.said = b"server_version\x0018", b"server_version\x0013"
    with pytest.raises(StoreUnavailable, match=r"PostgreSQL 13\.\d+; Raincheck needs 14"):
        await connect(proxy.url, None)


def end_all_others(server: PostgresServer) -> None:
    server.psql("select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'raincheck'")
