"""Where results of a batch go: to stdout, or to a file that is there when it is whole and in the order of the input."""

import json
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import typer

from raincheck.cli.exits import Code, Problem
from raincheck.cli.show import say

if TYPE_CHECKING:
    from raincheck.client import Batch, BatchResult, BatchRun, Raincheck


@dataclass(frozen=True, slots=True)
class Target:
    """The output file, and the one for what failed beside it."""

    output: Path
    errors: Path

    @classmethod
    def of(cls, output: Path, errors: Path | None, source: Path | None = None) -> "Target":
        """Where they can be written, and are not the same as each other or the input."""
        _check(output, "--output")
        target = cls(output, errors or output.with_name(f"{output.stem}.errors{output.suffix or '.jsonl'}"))
        _check(target.part, "--output")
        _check(target.errors, "--errors")
        used = dict[Path, str]() if source is None else {source.resolve(): "the input"}
        for what, path in (
            ("the output", output),
            ("the unfinished output", target.part),
            ("the errors", target.errors),
        ):
            if (other := used.setdefault(path.resolve(), what)) != what:
                raise typer.BadParameter(f"{path} would be {what}, and it is {other}", param_hint="--output")
        return target

    @property
    def part(self) -> Path:
        """What is there so far, in the order in which it came."""
        return self.output.with_name(f"{self.output.name}.part")


class Line(NamedTuple):
    """One of an output or error file."""

    name: str
    completed: bool
    at: int


def follow(run: "BatchRun", target: Target | None) -> None:
    """Take the results as they finish."""
    if target is None:
        for result in run:
            say(as_line(result))
        return
    write(run, target.part)


def write(results: "Iterable[BatchResult]", to: Path) -> None:
    with writing(to), to.open("w", encoding="utf-8") as file:
        for result in results:
            file.write(as_line(result) + "\n")
            file.flush()  # so that others can read along


def save(client: "Raincheck", batch: "Batch", target: Target) -> None:
    """Fetch the two files of a batch that has ended. A file for which there is nothing: an empty output, no errors."""
    with _new(target) as (output, errors):
        client.batches.download(batch, output, errors=errors)
        output.touch()
        _put(target, output, errors)


def merge(
    client: "Raincheck", batch: "Batch", target: Target, output: Path, names: Callable[[], Iterator[str]]
) -> None:
    """The same for a batch that did failed lines again: what it brought goes between what completed earlier, which is
    in `output`, and between the failures that it was not to do again, in the order of `names`, which is the input's."""
    with _new(target) as (whole, failed), _new(target) as (again, still):
        client.batches.download(batch, again, errors=still)
        _write_lines(whole, merged(names(), [output, again], completed=True))
        done = done_in(whole)
        _write_lines(failed, merged((name for name in names() if name not in done), [target.errors, still]))
        _put(target, whole, failed)


def merged(names: Iterable[str], files: list[Path], *, completed: bool = False) -> Iterator[bytes]:
    """The lines of these files, one for each name and in that order, of the last file that has one; only what
    completed, if asked. They may be in any order, and not be there."""
    found = dict[str, tuple[int, int]]()
    with ExitStack() as opened:
        there = [opened.enter_context(path.open("rb")) for path in files if path.exists()]
        for number, file in enumerate(there):
            for line in _lines(file):
                if line.completed or not completed:
                    found[line.name] = number, line.at
        for name in names:
            if (place := found.pop(name, None)) is not None:
                file = there[place[0]]
                file.seek(place[1])
                yield file.readline().rstrip(b"\r\n") + b"\n"


def refuse_foreign(path: Path, names: Iterable[str]) -> None:
    """Raises a Problem for a file with lines that none of these names is for: nothing is lost without a word."""
    strange = names_in(path)
    if strange and (strange := strange.difference(names)):
        told = f"{path.name} has a line for {min(strange)!r} where the input has none: is it of another input?"
        raise Problem(told)


def names_in(path: Path) -> set[str]:
    """The custom ids in an output or error file; none in one that is not there."""
    if not path.exists():
        return set()
    with path.open("rb") as file:
        return {line.name for line in _lines(file)}


def done_in(path: Path) -> set[str]:
    """Those that completed."""
    if not path.exists():
        return set()
    with path.open("rb") as file:
        return {line.name for line in _lines(file) if line.completed}


def as_line(result: "BatchResult") -> str:
    return json.dumps(result.to_dict(), ensure_ascii=False)


class Unwritten(Problem):
    """A disk is full, or a folder may not be written."""


@contextmanager
def writing(*paths: Path) -> Generator[None]:
    """Tells of what cannot be written in a line. Raises Unwritten."""
    try:
        yield
    except TimeoutError:
        raise
    except OSError as error:
        where = " or ".join(map(str, paths))
        raise Unwritten(f"cannot write {where}: {error.strerror or error}", Code.FAILED) from None


def _lines(file: IO[bytes]) -> Iterator[Line]:
    at = 0
    for number, text in enumerate(file, 1):
        if text.strip():
            try:
                record: Any = json.loads(text)
                answer = record.get("response")
                answered = answer is None or 200 <= answer["status_code"] < 300
                yield Line(str(record["custom_id"]), answered and not record.get("error"), at)
            except (ValueError, KeyError, TypeError, AttributeError):
                name = Path(file.name).name
                raise Problem(f"{name}, line {number}: this is no result of a batch", Code.USAGE) from None
        at += len(text)


def _check(path: Path, option: str) -> None:
    if path.is_dir():
        raise typer.BadParameter(f"{path} is a folder; name the file", param_hint=option)
    if path.exists() and not path.is_file():
        raise typer.BadParameter(f"{path} is no file that could be replaced", param_hint=option)
    if not path.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {path.parent}", param_hint=option)
    with writing(path), TemporaryFile(dir=path.parent):  # rather now than when everything is done
        pass


@contextmanager
def _new(target: Target) -> Generator[tuple[Path, Path]]:
    """Two files to be, beside those that they will replace."""
    folders = target.output.parent, target.errors.parent
    with (
        writing(*dict.fromkeys(folders)),
        TemporaryDirectory(prefix=".raincheck-", dir=folders[0]) as one,
        TemporaryDirectory(prefix=".raincheck-", dir=folders[1]) as two,
    ):
        yield Path(one) / "output", Path(two) / "errors"


def _write_lines(path: Path, lines: Iterable[bytes]) -> None:
    with writing(path), path.open("wb") as file:
        file.writelines(lines)


def _put(target: Target, output: Path, errors: Path) -> None:
    """The output first: whoever reads between the two finds a line twice, and never none."""
    with writing(target.output):
        output.replace(target.output)
    with writing(target.errors):
        if errors.exists() and errors.stat().st_size:
            errors.replace(target.errors)
        else:
            target.errors.unlink(missing_ok=True)  # of an earlier run, and no longer true
    with writing(target.part):
        target.part.unlink(missing_ok=True)
