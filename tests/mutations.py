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
    """One line made wrong, and the tests that must notice."""

    promise: str
    path: str
    line: str
    instead: str
    tests: tuple[str, ...]


CONTRACT = ("tests/store/contract", "tests/store/test_machine.py")
MUTATIONS: tuple[Mutation, ...] = ()


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
        if text.count(mutation.line) != 1:
            print(f"?  {mutation.promise}: its line is in {mutation.path} {text.count(mutation.line)} times")
            return False
        target.write_text(text.replace(mutation.line, mutation.instead))
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-n", "2", "-p", "no:cacheprovider", *mutation.tests],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy / "src")},
            capture_output=True,
            text=True,
            check=False,
        )
    # 1: tests failed. Anything else (nothing collected, an import that broke) proves nothing.
    red = next((line for line in run.stdout.splitlines() if line.startswith("FAILED")), "")
    print(f"{'ok' if run.returncode == 1 and red else '!!'} {mutation.promise}: {red or f'exit code {run.returncode}'}")
    return run.returncode == 1 and bool(red)


if __name__ == "__main__":
    sys.exit(main())
