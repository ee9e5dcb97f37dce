"""Names, looked up and checked."""

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest

from raincheck.upstream import pinned
from raincheck.upstream.pinned import (
    AddressRefused,
    CheckedResolver,
    Lookups,
    TooManyLookups,
    asker,
    checked,
    looked_up,
)


@contextmanager
def names_that_nobody_answers_for(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Whatever ends with `.silent` is looked up until the block ends."""
    over, real = Event(), socket.getaddrinfo

    def getaddrinfo(host: str, *args: Any, **kwargs: Any) -> Any:
        if host.endswith(".silent"):
            over.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    try:
        yield
    finally:
        over.set()


async def test_a_host_is_looked_up_as_this_machine_does() -> None:
    assert await looked_up("127.0.0.1", 443) == ["127.0.0.1"]
    assert await looked_up("127.1", 443) == ["127.0.0.1"]
    assert {"127.0.0.1", "::1"} & set(await looked_up("localhost", 443))


@pytest.mark.parametrize("host", ["a..example", "a" * 70 + ".example", "\ud800"])
async def test_what_is_no_name_is_unknown(host: str) -> None:
    with pytest.raises(socket.gaierror):
        await looked_up(host, 443)


async def test_names_that_nobody_answers_for_keep_no_other_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """G11: neither other receivers nor anything else of this process that needs a name."""
    with names_that_nobody_answers_for(monkeypatch):
        stuck = [asyncio.create_task(looked_up(f"{number}.silent", 443)) for number in range(100)]
        async with asyncio.timeout(5):
            assert await looked_up("127.0.0.1", 443) == ["127.0.0.1"]
            await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 443)
        assert not any(task.done() for task in stuck)
    assert [type(each) for each in await asyncio.gather(*stuck, return_exceptions=True)] == [socket.gaierror] * 100


async def test_who_gives_up_on_a_lookup_need_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with names_that_nobody_answers_for(monkeypatch), pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await looked_up("a.silent", 443)
    assert await looked_up("127.0.0.1", 443) == ["127.0.0.1"]


async def test_g12_lookups_that_are_under_way_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    lookups = Lookups(most=2)
    with names_that_nobody_answers_for(monkeypatch):
        stuck = asyncio.create_task(lookups.look_up("a.silent", 443))
        await asyncio.sleep(0)
        with pytest.raises(TooManyLookups):
            await lookups.look_up("127.0.0.1", 443)
    await asyncio.gather(stuck, return_exceptions=True)
    assert await lookups.look_up("127.0.0.1", 443) == ["127.0.0.1"]


async def test_g11_what_nobody_answers_for_takes_no_places_of_hosts_that_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lookups = Lookups(most=4)
    await lookups.look_up("127.0.0.1", 443)
    with names_that_nobody_answers_for(monkeypatch):
        stuck = [asyncio.create_task(lookups.look_up(f"{number}.silent", 443)) for number in range(5)]
        await asyncio.sleep(0)
        assert await lookups.look_up("127.0.0.1", 443) == ["127.0.0.1"]
    came = [type(each) for each in await asyncio.gather(*stuck, return_exceptions=True)]
    assert came == [socket.gaierror] * 2 + [TooManyLookups] * 3


async def test_g11_one_asker_takes_no_places_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look_up(who: str, host: str) -> list[str]:
        asker.set(who)
        return await lookups.look_up(host, 443)

    lookups = Lookups(share=2)
    with names_that_nobody_answers_for(monkeypatch):
        stuck = [asyncio.create_task(look_up("acme", f"{number}.silent")) for number in range(3)]
        await asyncio.sleep(0)
        assert await asyncio.create_task(look_up("other", "127.0.0.1")) == ["127.0.0.1"]
    came = [type(each) for each in await asyncio.gather(*stuck, return_exceptions=True)]
    assert came == [socket.gaierror] * 2 + [TooManyLookups]


async def test_a_host_is_looked_up_once_at_a_time_whoever_gives_up_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lookups = Lookups(most=2)
    with names_that_nobody_answers_for(monkeypatch):
        stuck = [asyncio.create_task(lookups.look_up("a.silent", port)) for port in (443, 80, 8080)]
        await asyncio.sleep(0)
        stuck[0].cancel()
    came = [type(each) for each in await asyncio.gather(*stuck, return_exceptions=True)]
    assert came == [asyncio.CancelledError, socket.gaierror, socket.gaierror]


async def test_a_host_that_could_not_be_looked_up_is_not_looked_up_again_for_some_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, now = list[str](), [1000.0]

    def getaddrinfo(host: str, *_: Any, **__: Any) -> Any:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(pinned, "monotonic", lambda: now[0])
    lookups = Lookups()
    for later in (0.0, 4.9, 0.2):
        now[0] += later
        with pytest.raises(socket.gaierror) as caught:
            await lookups.look_up("a.example", 443)
        assert caught.value.errno == socket.EAI_NONAME
    assert asked == ["a.example"] * 2


async def test_one_address_that_must_not_be_called_condemns_the_name() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["8.8.8.8", "10.0.0.1"]

    with pytest.raises(AddressRefused) as caught:
        await checked("both.example", 443, (), resolve)
    assert caught.value.host == "both.example"
    assert await checked("both.example", 443, ("10.0.0.0/8",), resolve) == ["8.8.8.8", "10.0.0.1"]


@pytest.mark.parametrize("host", ["localhost", "LocalHost.", "app.localhost"])
async def test_localhost_is_called_at_those_of_its_addresses_that_are_allowed(host: str) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["::1", "127.0.0.1"]

    assert await checked(host, 443, ("127.0.0.1",), resolve) == ["127.0.0.1"]
    assert await checked(host, 443, ("127.0.0.0/8", "::1"), resolve) == ["::1", "127.0.0.1"]
    with pytest.raises(AddressRefused):
        await checked(host, 443, ("10.0.0.0/8",), resolve)


async def test_a_name_without_an_address_is_refused() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return []

    with pytest.raises(AddressRefused):
        await checked("none.example", 443, ("none.example",), resolve)


async def test_aiohttp_is_told_of_checked_addresses_alone() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["8.8.8.8", "2606:4700:4700::1111"]

    told = await CheckedResolver((), resolve).resolve("good.example", 443)
    assert [(each["host"], each["port"], each["family"]) for each in told] == [
        ("8.8.8.8", 443, socket.AF_INET),
        ("2606:4700:4700::1111", 443, socket.AF_INET6),
    ]
    with pytest.raises(AddressRefused):
        await CheckedResolver().resolve("127.1", 443)
