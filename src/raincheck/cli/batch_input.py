"""What `raincheck batch` is given (batch lines, bodies, a table, prompts), to the requests of a batch."""

import csv
import json
import re
import shutil
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, Literal, get_args

import typer

from raincheck.cli.exits import Code, Problem

Places = Callable[[], Iterator[str]]
"""Where each request stands in the input, as often as it is asked."""
Format = Literal["jsonl", "csv", "tsv", "txt"]
CHAT = "/v1/chat/completions"
_SUFFIXES: dict[str, Format] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "tsv"}
_PLACE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")
_BODY = frozenset({"messages", "input", "prompt"})
_TEXT_COLUMNS = ("prompt", "text")
_LONGEST_CELL = 64 * 1024 * 1024
_DELIMITERS = ",;\t|"
_LINES = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_STDIN = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """Where the requests are read, as often as needed, and how they are made of what stands there."""

    source: Path
    format: Format
    delimiter: str | None = None
    """Between the columns of a table; None: as its first line shows."""
    template: str | None = None
    id_column: str | None = None
    system: str | None = None
    model: str | None = None
    endpoint: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def as_it_is(self) -> Path | None:
        """The file, when it is one of batch lines with nothing to fill in: the server checks it."""
        if self.format != "jsonl" or self._makes or self.model is not None or self.params:
            return None
        return self.source if b'"body"' in _first_line(self.source) else None

    def requests(self) -> Iterator[dict[str, Any]]:
        """Each with a custom id and a body. Raises a Problem that names the line of what is wrong."""
        return (request for _, request in self.located())

    def located(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The same, with where each stands."""
        named = set[str]()
        with _reading(self.source) as file:
            for number, (where, record) in enumerate(self._records(file), 1):
                request = self._request(record, number, where)
                if self.id_column is not None:
                    if request["custom_id"] in named:
                        raise _wrong(f"{where}: {request['custom_id']!r} names an earlier request already")
                    named.add(request["custom_id"])
                yield where, request

    def places(self) -> Iterator[str]:
        return (where for where, _ in self.located())

    def _request(self, record: Mapping[str, Any], number: int, where: str) -> dict[str, Any]:
        from raincheck.client.batches.lines import is_line

        if not self._makes and is_line(record):
            return {"custom_id": f"request-{number}", **record}
        name = self._name(record, number, where)
        if not self._makes and _BODY & record.keys() and self.format == "jsonl":
            return {"custom_id": name, "body": record}
        return {"custom_id": name, "body": self._body(record, where)}

    def _records(self, file: IO[bytes]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        match self.format:
            case "jsonl":
                return _objects(file)
            case "txt":
                return _prompts(file)
            case "csv" | "tsv":
                return _table(file, "\t" if self.format == "tsv" and self.delimiter is None else self.delimiter)

    @property
    def _makes(self) -> bool:
        """Whether records are to be turned into prompts, whatever they are."""
        return self.template is not None or self.system is not None

    def _name(self, record: Mapping[str, Any], number: int, where: str) -> str:
        if self.id_column is None:
            return f"request-{number}"
        if not (name := _text(_cell(record, self.id_column, where)).strip()):
            raise _wrong(f"{where}: {self.id_column!r} is empty, and no name for a request")
        return name

    def _body(self, record: Mapping[str, Any], where: str) -> dict[str, Any]:
        from raincheck.client.batches.lines import asked

        prompt = self._prompt(record, where)
        if not prompt.strip():
            raise _wrong(f"{where}: the prompt is empty")
        endpoint = self.endpoint or CHAT
        if self.system is None:
            return asked(endpoint, prompt)
        if endpoint != CHAT:
            raise typer.BadParameter(f"a system message is for {CHAT}", param_hint="--system")
        messages = [{"role": "system", "content": self.system}, {"role": "user", "content": prompt}]
        return {"messages": messages}

    def _prompt(self, record: Mapping[str, Any], where: str) -> str:
        if self.template is not None:
            return fill(self.template, record, where)
        for name in _TEXT_COLUMNS if len(record) > 1 else record:
            if isinstance(record.get(name), str):
                return record[name]
        raise _wrong(
            f"{where}: which of {_names(record)} is the prompt? Say it: --template '{{{next(iter(record), '')}}}'"
        )


@contextmanager
def source_of(given: str) -> Generator[Path]:
    """The file; stdin is kept as one, so that it can be looked at first and read again."""
    if given != _STDIN:
        if not Path(given).is_file():
            raise Problem(f"there is no file {given}", Code.USAGE, "usage")
        yield Path(given)
        return
    with TemporaryDirectory(prefix="raincheck-") as folder:
        kept = Path(folder) / "stdin"
        with kept.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield kept


def input_of(source: Path, form: Format | None, **recipe: Any) -> Input:
    """Where no format is named: by its suffix; else JSONL if its first line is an object, and a prompt on each line if
    not. Raises a Problem when nothing stands there."""
    first = _first_line(source)
    if not first:
        name = "stdin" if source.name == "stdin" and not source.suffix else source.name
        raise _wrong(f"there are no requests in {name}: it is empty")
    if form is None:
        form = _SUFFIXES.get(source.suffix.lower()) or ("jsonl" if _is_object(first) else "txt")
    given = Input(source=source, format=form, **recipe)
    if given.template is not None and not any(place.group(1) is not None for place in _PLACE.finditer(given.template)):
        typer.echo("the template has no place such as {text}: all prompts are the same", err=True)
    return given


def fill(template: str, record: Mapping[str, Any], where: str) -> str:
    """The template with each `{column}` filled in; doubled braces stand for themselves."""

    def put(place: re.Match[str]) -> str:
        name = place.group(1)
        return place.group()[0] if name is None else _text(_cell(record, name.strip(), where))

    return _PLACE.sub(put, template)


@contextmanager
def _reading(source: Path) -> Generator[IO[bytes]]:
    try:
        with source.open("rb") as file:
            yield file
    except OSError as error:
        raise Problem(f"cannot read {source}: {error.strerror or error}", Code.USAGE, "usage") from None


def _first_line(source: Path) -> bytes:
    """The beginning of the first that is not blank; empty when there is none."""
    with _reading(source) as file:
        while line := file.readline(1024 * 1024):
            if text := line.removeprefix(b"\xef\xbb\xbf").strip():
                return text
    return b""


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _objects(file: IO[bytes]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    from raincheck.client.batches.lines import read

    try:
        for number, record in read(file):
            yield f"line {number}", record
    except ValueError as error:
        raise _wrong(str(error)) from None


def _prompts(file: IO[bytes]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(_texts(file), 1):
        if line.strip():
            yield f"line {number}", {"text": line.strip()}


def _texts(file: IO[bytes]) -> Iterator[str]:
    """Lines, whatever ends them."""
    number = 0
    for raw in file:
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            if not number and raw.startswith(_UTF16):
                raise _wrong("this is UTF-16, not UTF-8: `iconv -f utf-16 -t utf-8` makes it so") from None
            hint = "is it from Excel? `iconv -f windows-1252 -t utf-8` makes it so"
            raise _wrong(f"line {number + 1} is not UTF-8 text; {hint}") from None
        for line in _LINES.findall(text):
            number += 1
            yield line.removeprefix("\ufeff") if number == 1 else line


def _table(file: IO[bytes], delimiter: str | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    csv.field_size_limit(_LONGEST_CELL)
    lines = _texts(file)
    blank, first = next(((number, line) for number, line in enumerate(lines) if line.strip()), (0, ""))
    # A first line names columns, so that what is there most often stands between them.
    between = delimiter or max(_DELIMITERS, key=_outside_quotes(first).count)
    rows = csv.reader(_again(first, lines), delimiter=between, strict=True)
    try:
        columns = next(rows, list[str]())
        for cells in rows:
            where = f"line {blank + rows.line_num}"
            if cells and len(cells) != len(columns):
                than = "more" if len(cells) > len(columns) else "fewer"
                told = f"{than} cells than the {len(columns)} columns of the first line, {_names(columns)}"
                raise _wrong(f"{where}: {told}, by {between!r} between them; --delimiter says otherwise")
            if cells:
                yield where, dict(zip(columns, cells, strict=True))
    except csv.Error as error:
        raise _wrong(f"line {blank + rows.line_num}: {error}") from None


def _again(first: str, others: Iterable[str]) -> Iterator[str]:
    yield first
    yield from others


def _outside_quotes(line: str) -> str:
    return "".join(line.split('"')[::2])


def _cell(record: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in record:
        raise _wrong(f"{where}: there is no {name!r}; there are {_names(record)}")
    return record[name]


def _text(value: object) -> str:
    """As it stands in a prompt: text as it is, nothing for null, and JSON for the rest."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _names(record: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in record) or "no columns"


def _wrong(message: str) -> Problem:
    return Problem(message, Code.USAGE, "bad_input")


FORMATS = ", ".join(get_args(Format))
