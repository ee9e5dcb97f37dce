"""What a crash of PostgreSQL itself may forget, and what that must not lead to."""

import pytest

from raincheck.store.postgres import open_store
from tests.store.builders import claimed, running, submitted, success
from tests.store.postgres.server import PostgresServer


@pytest.mark.slow("starts a server twice")
async def test_a_crash_that_forgets_a_claim_does_not_give_its_fence_out_again() -> None:
    """G2: a claim is not flushed, and its worker may outlive the database."""
    with PostgresServer(durable=True, wal_writer_delay="10s") as server:
        async with open_store(server.url()) as store:
            await submitted(store)
            [before] = await claimed(store)
            server.kill()
            server.start()
            [after] = await claimed(store)
            assert after.attempt == 1, "the crash did not forget the claim, so this shows nothing"
            assert after.fence.request_id == before.fence.request_id
            assert after.fence.number > before.fence.number
            assert await store.leases.finish([success(before)]) == [before.fence]
            assert await store.leases.finish([success(after)]) == []


NOTED = (
    "create table noted (what text, flushed text)",
    """create function note() returns trigger language plpgsql as $$ begin
           insert into noted values (new.status, current_setting('synchronous_commit')); return new; end $$""",
    "create trigger submitted after insert on request for each row execute function note()",
    "create trigger ended after update of status on request for each row execute function note()",
)


@pytest.mark.slow("starts a server")
async def test_what_somebody_was_told_is_flushed_whatever_the_servers_default() -> None:
    """G1, G2: accepted requests and ends; claims need not be, and are not."""
    with PostgresServer(synchronous_commit="off") as server:
        async with open_store(server.url()) as store:
            for statement in NOTED:
                server.psql(statement)
            lease = await running(store, max_attempts=1)
            await store.leases.finish([success(lease)])
            [other] = await submitted(store)
            await store.requests.cancel("t", other.id)
            await submitted(store, max_attempts=1)
            await claimed(store, lease_for=1)
            await claimed(store, queue="other")  # The lease has lapsed, and there is no attempt left.
        noted = set(server.psql("select what || ' ' || flushed from noted").splitlines())
    assert noted == {"pending on", "processing off", "completed on", "cancelled on", "failed on"}
