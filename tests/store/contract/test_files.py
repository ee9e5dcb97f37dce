"""What `protocol.Files` promises, and what upkeep does to files whose time is over."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from raincheck.core.clock import HOUR, MINUTE, SECOND
from raincheck.core.errors import AttachmentGone, BadInput, NotFound
from raincheck.core.model import File
from raincheck.store.protocol import Store
from tests.store.builders import START, FakeClock, Home, submitted, uploaded


async def listed(store: Store, **options: Any) -> list[str]:
    return [file.id for file in (await store.files.list("t", **options)).files]


async def test_a_file_is_there_after_the_store_is_opened_again(home: Home) -> None:
    """G1: and its body is not doomed any more."""
    async with home.open() as store:
        file = await uploaded(store, filename="läufer 💧.png", expires_at=START + 5 * HOUR)
    home.clock.advance(seconds=2 * HOUR / SECOND)
    async with home.open() as store:
        assert await store.files.get("t", file.id) == file
        assert await store.blobs.doomed(limit=9) == []


async def test_a_file_without_its_body_is_gone(store: Store, clock: FakeClock) -> None:
    file = await uploaded(store)
    await store.blobs.expect("uploads/late", keep_for=MINUTE)
    clock.advance(seconds=60)
    for blob in ("uploads/unknown", "uploads/late"):
        other = replace(file, id="file_other", blob=blob)
        with pytest.raises(AttachmentGone):
            await store.files.add(other)
        with pytest.raises(NotFound):
            await store.files.get("t", "file_other")
    assert await store.blobs.doomed(limit=9) == ["uploads/late"]


@pytest.mark.parametrize("tenant", ["else", ""])
async def test_another_tenants_file_is_unknown(store: Store, tenant: str) -> None:
    """G8."""
    file = await uploaded(store)
    for call in (store.files.get(tenant, file.id), store.files.delete(tenant, file.id)):
        with pytest.raises(NotFound) as told:
            await call
        with pytest.raises(NotFound) as unknown:
            await store.files.get("t", "file_unknown")
        assert str(told.value).replace(file.id, "…") == str(unknown.value).replace("file_unknown", "…")
    with pytest.raises(NotFound):
        await store.files.list(tenant, after=file.id)
    assert (await store.files.list(tenant)).files == []
    assert await store.files.get("t", file.id) == file


async def test_an_id_that_no_file_can_have_is_unknown(store: Store) -> None:
    for call in (store.files.get("t", "a\0b"), store.files.delete("t", "a\0b")):
        with pytest.raises(NotFound):
            await call
    assert (await store.files.list("t", purpose="a\0b")).files == []


async def test_a_file_whose_name_has_a_nul_is_kept_or_refused(store: Store) -> None:
    try:
        file = await uploaded(store, filename="a\0b.png")
    except BadInput:
        assert await listed(store) == []
    else:
        assert await store.files.get("t", file.id) == file


async def test_a_listing_is_newest_first_or_oldest_first(store: Store) -> None:
    ids = [(await uploaded(store, f"uploads/{number}")).id for number in range(5)]
    await uploaded(store, "uploads/else", tenant="else")
    assert await listed(store) == ids[::-1]
    assert await listed(store, newest=False) == ids


@pytest.mark.parametrize("newest", [True, False])
@pytest.mark.parametrize("purpose", [None, "vision"])
async def test_paging_walks_every_file_once(store: Store, newest: bool, purpose: str | None) -> None:
    purposes = ["vision", "batch", "vision", "vision", "user_data", "vision", "vision"]
    files = [await uploaded(store, f"uploads/{n}", purpose=each) for n, each in enumerate(purposes)]
    wanted = [file.id for file in files if purpose in (None, file.purpose)]
    seen, after = list[File](), None
    while True:
        page = await store.files.list("t", purpose=purpose, after=after, limit=2, newest=newest)
        assert len(page.files) <= 2
        seen += page.files
        if not page.has_more:
            break
        after = page.files[-1].id
    assert [file.id for file in seen] == (wanted[::-1] if newest else wanted)


async def test_a_page_that_is_just_full_is_the_last(store: Store) -> None:
    for number in range(3):
        await uploaded(store, f"uploads/{number}")
    assert not (await store.files.list("t", limit=3)).has_more
    assert (await store.files.list("t", limit=2)).has_more


async def test_an_unknown_cursor_is_not_found(store: Store) -> None:
    for after in ("file_unknown", "a\0b"):
        with pytest.raises(NotFound):
            await store.files.list("t", after=after)


async def test_deleting_a_file_forgets_it_and_dooms_its_body_at_once(store: Store) -> None:
    file, kept = await uploaded(store), await uploaded(store, "uploads/kept")
    await store.files.delete("t", file.id)
    for call in (store.files.get("t", file.id), store.files.delete("t", file.id)):
        with pytest.raises(NotFound):
            await call
    assert await listed(store) == [kept.id]
    assert await store.blobs.doomed(limit=9) == ["uploads/a"]


async def test_a_file_that_has_expired_is_unknown_and_its_body_goes_with_upkeep(store: Store, clock: FakeClock) -> None:
    """G12."""
    file = await uploaded(store, expires_at=START + 2 * HOUR)
    later = await uploaded(store, "uploads/later", expires_at=START + 3 * HOUR)
    clock.advance(seconds=2 * HOUR / SECOND - 1)
    assert await store.upkeep.purge(limit=9) == 0
    assert await listed(store) == [later.id, file.id]
    clock.advance(seconds=1)
    for purpose in (None, "vision"):
        for newest in (True, False):
            assert await listed(store, purpose=purpose, newest=newest) == [later.id]
    for call in (store.files.get("t", file.id), store.files.delete("t", file.id)):
        with pytest.raises(NotFound):
            await call
    assert await store.blobs.doomed(limit=9) == []
    assert await store.upkeep.purge(limit=9) == 1
    assert await store.blobs.doomed(limit=9) == ["uploads/a"]
    assert await store.upkeep.purge(limit=9) == 0


async def test_purge_takes_no_more_steps_than_it_may_files_included(store: Store, clock: FakeClock) -> None:
    for number in range(3):
        await uploaded(store, f"uploads/{number}", expires_at=START + HOUR)
    [request] = await submitted(store)
    await store.requests.cancel("t", request.id)
    clock.advance(seconds=HOUR / SECOND)
    assert await store.upkeep.purge(limit=2) == 2
    assert await store.upkeep.purge(limit=2) == 1
    assert await store.upkeep.purge(limit=2) == 0
    clock.advance(seconds=30 * 24 * HOUR / SECOND)
    await uploaded(store, "uploads/more", expires_at=START + HOUR)
    assert await store.upkeep.purge(limit=1) == 1
    assert await store.upkeep.purge(limit=9) == 1


async def test_files_that_are_deleted_at_the_same_time_are_deleted_once(store: Store) -> None:
    file = await uploaded(store)
    answers = await asyncio.gather(*(store.files.delete("t", file.id) for _ in range(3)), return_exceptions=True)
    assert sorted(str(type(answer).__name__) for answer in answers) == ["NoneType", "NotFound", "NotFound"]
    assert await store.blobs.doomed(limit=9) == ["uploads/a"]
