"""Do the tests hold the promises? Each mutation takes one line away that a promise rests on; the suite must turn red.

`python -m tests.mutations` runs them all on a copy of the source, some of the suite each; it takes a few minutes. The
exit code is 1 when a mutation survived, or when a line it takes away is not there any more.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HOUSE = Path(__file__).parents[1]
STORE = "src/raincheck/store"


@dataclass(frozen=True, slots=True)
class Mutation:
    """A line (or all that guard the same thing) made wrong, and the tests that must notice."""

    promise: str
    path: str
    edits: tuple[tuple[str, str], ...]
    """What stands there, and what is put instead."""
    tests: tuple[str, ...]


CONTRACT = ("tests/store/contract", "tests/store/test_machine.py")
SQLITE = (*CONTRACT, "tests/store/sqlite", "-k", "not postgres")
POSTGRES = (*CONTRACT, "tests/store/postgres", "-k", "not [sqlite")
MUTATIONS = (
    Mutation(
        "G2 on SQLite: no fence in a finish",
        f"{STORE}/sqlite/leases.py",
        (
            (
                """from request where id = ? and fence = ? and status = 'processing'\"\"\",""",
                """from request where id = ? and ? is not null and status = 'processing'\"\"\",""",
            ),
        ),
        SQLITE,
    ),
    Mutation(
        "G2 on SQLite: two processes own the file, and claim from it",
        f"{STORE}/sqlite/database.py",
        (("fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)", "fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)"),),
        SQLITE,
    ),
    Mutation(
        "G6 on SQLite: no event from cancel",
        f"{STORE}/sqlite/requests.py",
        (
            (
                "Status.CANCELLED, keep_until=tx.now + self._retention)",
                "Status.CANCELLED, keep_until=tx.now + self._retention); tx.run('delete from event', ())",
            ),
        ),
        SQLITE,
    ),
    Mutation(
        "G1 on SQLite: no flush of a submit",
        f"{STORE}/sqlite/database.py",
        (('synchronous = "full" if durable else "normal"', 'synchronous = "normal"'),),
        SQLITE,
    ),
    Mutation(
        "G2 on PostgreSQL: no fence in a finish",
        f"{STORE}/postgres/finishes.py",
        (
            ("r.id = f.id and r.fence = f.fence and r.worker is not null", "r.id = f.id and r.worker is not null"),
            (
                "{Fence(row[1], row[8]): Open(*row[:13]) for row in map(tuple, found)}",
                "{fence: Open(*row[:13]) for row in map(tuple, found) for fence in finishes if fence[0] == row[1]}",
            ),
        ),
        POSTGRES,
    ),
    Mutation(
        "G2 on PostgreSQL: no row lock in a claim",
        f"{STORE}/postgres/claims.py",
        (("limit o.wanted\n                     for update of r skip locked) head", "limit o.wanted) head"),),
        POSTGRES,
    ),
    Mutation(
        "G6 on PostgreSQL: no event from cancel",
        f"{STORE}/postgres/requests.py",
        (
            (
                "Status.CANCELLED, self._retention) for request in ending])",
                "Status.CANCELLED, self._retention) for request in ending]); await tx.run('delete from event')",
            ),
        ),
        POSTGRES,
    ),
    Mutation(
        "G1 on PostgreSQL: no flush of a submit",
        f"{STORE}/postgres/database.py",
        (('self._begun("on" if durable else "off")', 'self._begun("off")'),),
        POSTGRES,
    ),
    Mutation(
        "G7 on PostgreSQL: no lock on a limit",
        f"{STORE}/postgres/limits.py",
        (("                  for update)", "                  )"),),
        POSTGRES,
    ),
)


def main() -> int:
    survived = [mutation for mutation in MUTATIONS if not _killed(mutation)]
    print(f"{len(MUTATIONS) - len(survived)} of {len(MUTATIONS)} mutations turned the suite red")
    return int(bool(survived))


def _killed(mutation: Mutation) -> bool:
    with tempfile.TemporaryDirectory(prefix="raincheck-mutation-") as folder:
        copy = Path(folder)
        for name in ("src", "tests", "docs", "pyproject.toml"):
            source = HOUSE / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name)
        target = copy / mutation.path
        text = target.read_text()
        for line, instead in mutation.edits:
            if text.count(line) != 1:
                print(f"?? {mutation.promise}: {line.strip()!r} is in {mutation.path} {text.count(line)} times")
                return False
            text = text.replace(line, instead)
        target.write_text(text)
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-n", "2", "-p", "no:cacheprovider", *mutation.tests],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy / "src")},
            capture_output=True,
            text=True,
            check=False,
        )
    # A run that collected nothing or broke at an import proves nothing.
    red = next((line for line in run.stdout.splitlines() if line.startswith("FAILED")), None)
    print(
        f"{'ok' if red else '!!'} {mutation.promise}: {red or f'nothing failed (exit code {run.returncode})'}",
        flush=True,
    )
    return red is not None


if __name__ == "__main__":
    sys.exit(main())
