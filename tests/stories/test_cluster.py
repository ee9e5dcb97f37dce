"""G1, G2, G3, G4 over many machines: API processes, workers and PostgreSQL die, and nothing accepted is lost."""

from pathlib import Path

import pytest

from tests.stories.cluster import a_cluster, tell


@pytest.mark.slow("kills and restarts five processes and PostgreSQL for 20 s")
async def test_whatever_dies_every_accepted_request_ends_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with a_cluster(tmp_path, durable=True) as cluster:
        told = await tell(cluster, requests=400, seconds=20, restarts=1, seed=7)
    with capsys.disabled():
        print(f"\n{told}")
    assert told.accepted == 400
    assert sum(told.ends.values()) == told.events == 400
    assert told.ends.keys() <= {"completed", "failed", "cancelled", "expired"}
    assert told.finished_twice == 0
    # What ran when a worker was killed is done again, and nothing else; 32 run at the upstream at most.
    assert told.repeated <= 32 * (told.kills + told.restarts)
