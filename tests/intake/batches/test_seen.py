"""Custom ids that come twice, among more of them than are kept in memory."""

import tempfile
from pathlib import Path

import pytest

from raincheck.core.errors import StoreUnavailable
from raincheck.intake.batches.seen import SHELVES, SPILL, Seen, Twice


async def test_ids_that_came_before_are_named_with_both_lines_in_order() -> None:
    with Seen() as seen:
        for line, name in enumerate(["a", "b", "a", "c", "b", "a"], 1):
            seen.add(name, line)
        assert await seen.twice(100) == [Twice(3, 1), Twice(5, 2), Twice(6, 1)]
        assert await seen.twice(2) == [Twice(3, 1), Twice(5, 2)]


@pytest.mark.slow("writes 170,000 ids down")
async def test_ids_that_wait_on_disk_are_found_too() -> None:
    names = SHELVES * SPILL // 24
    with Seen() as seen:
        for line in range(1, names + 1):
            seen.add(f"request-{line}", line)
        assert await seen.twice(100) == []
        assert sum(len(shelf) for shelf in seen._shelves) < SHELVES * SPILL  # pyright: ignore[reportPrivateUsage]
        seen.add("request-1", names + 1)
        seen.add(f"request-{names}", names + 2)
        assert await seen.twice(100) == [Twice(names + 1, 1), Twice(names + 2, names)]


async def test_one_id_on_every_line_takes_no_more_memory_than_others() -> None:
    with Seen() as seen:
        for line in range(1, 20_001):
            seen.add("same", line)
        found = await seen.twice(100)
    assert found == [Twice(line, 1) for line in range(2, 102)]


@pytest.mark.slow("notes 170,000 ids")
def test_ids_for_which_the_disk_has_no_room_are_an_outage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))

    def note_many(seen: Seen) -> None:
        for line in range(SHELVES * SPILL // 24):
            seen.add(f"request-{line}", line)

    with Seen() as seen, pytest.raises(StoreUnavailable, match="temporary files"):
        note_many(seen)
