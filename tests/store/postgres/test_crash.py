"""What a crash of PostgreSQL itself may forget, and what that must not lead to."""

import pytest

from raincheck.store.postgres import open_store
from tests.store.builders import claimed, submitted, success
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
