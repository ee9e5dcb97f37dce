"""A batch of very many lines on an instant upstream: how fast its file is checked and its results are written, what
memory the server needs for it, and what a single deferred chat in the middle of it takes."""

import json
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from openai import OpenAI
from openai.types import Batch

from bench import processes
from bench.calls import DEFERRED, MESSAGES, MODEL
from bench.setting import Kind, Setting
from bench.stats import Row, Samples

LOOK_EVERY = 0.02
IDLE_CHATS = 50
CHATS = 20
MIB = 1 << 20
LONGEST = 3 * 3600.0


def sqlite(setting: Setting) -> list[Row]:
    return _rows(setting, "sqlite")


def postgres(setting: Setting) -> list[Row]:
    return _rows(setting, "postgres")


@dataclass(frozen=True, slots=True)
class Seen:
    """What one batch took."""

    parsed: float
    """Lines per second that Python's own JSON parser reads of the same file, one after the other."""
    checked: float
    """From the creation of the batch to its first line being fed, in lines per second."""
    worked: float
    written: float
    """From the last end to the files being there."""
    idle: float
    peak: float
    """MiB."""
    before: tuple[float, ...]
    midway: tuple[float, ...]
    """Milliseconds of single deferred chats."""


def _rows(setting: Setting, kind: Kind) -> list[Row]:
    seen = _measure(setting, kind)
    lines = f"{setting.options.many:,} lines, {kind}"
    parsed = Samples((seen.parsed,))

    def rate(what: str, value: float, goal: float | None) -> Row:
        return Row(
            what=f"{what}, {lines}",
            unit="/s",
            against="json.loads",
            baseline=parsed,
            ours=Samples((value,)),
            value=value,
            value_unit="lines/s",
            goal=goal,
        )

    return [
        rate("batch checked", seen.checked, 30_000),
        rate("batch worked off", seen.worked, None),
        rate("result files written", seen.written, 30_000),
        Row(
            what=f"peak memory, {lines}",
            unit="MiB",
            against="idle",
            baseline=Samples((seen.idle,)),
            ours=Samples((seen.peak,)),
            value=seen.peak - seen.idle,
            value_unit="MiB more",
            better="less",
            goal=200,
        ),
        Row(
            what="a chat in the middle of it",
            unit="ms",
            against="idle server",
            baseline=Samples(seen.before),
            ours=Samples(seen.midway),
            value=Samples(seen.midway).median,
            value_unit="ms",
            better="less",
            goal=250,
        ),
    ]


def _measure(setting: Setting, kind: Kind) -> Seen:
    lines, folder = setting.options.many, setting.folder
    path = folder / f"batch-{kind}.jsonl"
    _write(path, lines)
    blobs = ["--config", str(_config(folder))] if kind == "postgres" else []
    with (
        processes.upstream(folder) as upstream,
        processes.server(folder, upstream, setting.store(kind, "batches"), max_concurrency=64, options=blobs) as server,
        OpenAI(base_url=server.base_url, api_key="none", timeout=600) as client,
    ):
        before = tuple(_chat(server) for _ in range(IDLE_CHATS))
        idle = server.resident() / MIB
        with _watched(server) as peak, path.open("rb") as file:
            uploaded = client.files.create(file=file, purpose="batch")
            began = time.monotonic()
            batch_id = client.batches.create(
                input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
            ).id
            checked = _when(client, batch_id, lambda batch: batch.in_progress_at is not None)
            _when(client, batch_id, lambda batch: _ended(batch) >= lines // 2)
            midway = tuple(_chat(server) for _ in range(CHATS))
            worked = _when(client, batch_id, lambda batch: batch.finalizing_at is not None)
            done = _when(client, batch_id, lambda batch: batch.status == "completed")
        written = client.batches.retrieve(batch_id)
        counts = written.request_counts
        assert counts is not None
        assert counts.completed == lines
        parsed = _parsing(path)
    return Seen(
        parsed=parsed,
        checked=lines / (checked - began),
        worked=lines / (worked - checked),
        written=lines / (done - worked),
        idle=idle,
        peak=peak[0] / MIB,
        before=before,
        midway=midway,
    )


def _write(path: Path, lines: int) -> None:
    body = {"model": MODEL, "messages": MESSAGES, "max_tokens": 64, "temperature": 0.5}
    with path.open("wb") as file:
        for number in range(lines):
            line = {"custom_id": f"line-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(msgspec.json.encode(line) + b"\n")


def _config(folder: Path) -> Path:
    """PostgreSQL has no folder of its own for files."""
    path = folder / "batches.toml"
    path.write_text(f'[store]\nblobs = "file://{folder}/blobs"\n')
    return path


def _parsing(path: Path) -> float:
    began, lines = time.monotonic(), 0
    with path.open("rb") as file:
        for line in file:
            json.loads(line)
            lines += 1
    return lines / (time.monotonic() - began)


def _chat(server: processes.Site) -> float:
    """How long a deferred chat takes from submit to result, in milliseconds."""
    began = time.perf_counter()
    ticket = msgspec.json.decode(server.ask("POST", "/v1/chat/completions", DEFERRED))
    done = msgspec.json.decode(server.ask("GET", f"/v1/chat/deferred-completion/{ticket['id']}?wait=30"))
    assert done["choices"]
    return (time.perf_counter() - began) * 1_000


def _ended(batch: Batch) -> int:
    counts = batch.request_counts
    return 0 if counts is None else counts.completed + counts.failed


def _when(client: OpenAI, batch_id: str, reached: Callable[[Batch], bool]) -> float:
    give_up = time.monotonic() + LONGEST
    while True:
        batch = client.batches.retrieve(batch_id)
        if reached(batch):
            return time.monotonic()
        if batch.status in ("failed", "expired", "cancelled") or time.monotonic() > give_up:
            raise RuntimeError(f"the batch is {batch.status}: {batch.errors}")
        time.sleep(LOOK_EVERY)


@contextmanager
def _watched(server: processes.Site) -> Generator[list[int]]:
    """The most memory it held, in the list's only place."""
    peak, over = [server.resident()], threading.Event()

    def look() -> None:
        while not over.wait(0.2):
            peak[0] = max(peak[0], server.resident())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()
