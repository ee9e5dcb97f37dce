"""What `raincheck check` says about a server."""

import pytest

from raincheck.core.errors import SettingsInvalid, StoreUnavailable
from raincheck.store.postgres import probing
from raincheck.store.postgres.probing import DEAF, LOSES, READ_ONLY, probe
from tests.store.postgres.proxy import Proxy
from tests.store.postgres.server import PostgresServer

UNSAFE = [LOSES.format("fsync"), LOSES.format("full_page_writes")]
"""The tests' server is a quick one."""


async def test_a_server_that_may_lose_what_was_accepted_is_named(server: PostgresServer) -> None:
    """G1."""
    assert await probe(server.url()) == UNSAFE


@pytest.mark.slow("starts a server")
async def test_nothing_is_said_of_a_server_as_it_should_be() -> None:
    with PostgresServer(durable=True, version=16) as server:
        assert await probe(server.url()) == []


async def test_a_standby_is_named(server: PostgresServer) -> None:
    url = server.url() + "?default_transaction_read_only=on"
    assert await probe(url) == [READ_ONLY, *UNSAFE]


async def test_notifications_that_do_not_come_through_are_named(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "HEARD_WITHIN", 0.1)
    proxy.said = b"raincheck_", b"elsewhere_"
    assert await probe(proxy.url) == [*UNSAFE, DEAF]


async def test_an_old_server_is_named(proxy: Proxy) -> None:
    proxy.said = b"server_version\x0018", b"server_version\x0013"
    with pytest.raises(StoreUnavailable, match="needs 14 or newer"):
        await probe(proxy.url)


async def test_a_server_that_is_away_and_a_senseless_url_are_errors(server: PostgresServer) -> None:
    server.stop()
    with pytest.raises(StoreUnavailable, match="nothing listens there"):
        await probe(server.url())
    with pytest.raises(SettingsInvalid):
        await probe("postgresql://u:geh/eim@h/db")
