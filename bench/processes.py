"""Starts and stops those that take part: Raincheck as users start it, an upstream, an echo, a load generator."""

import os
import resource
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import msgspec

HOUSE = Path(__file__).parents[1]
RAINCHECK = Path(sys.executable).with_name("raincheck")
STOP_WITHIN = 15.0
PATIENCE = 30.0
AT_ONCE = {"RAINCHECK_GRACE": "0s"}
"""Attempts at an upstream that never answers need no time to finish."""


class Child:
    """A process that said on its first line that it is ready, and may be asked for more."""

    def __init__(self, command: Sequence[str | Path], folder: Path, *, environment: Mapping[str, str] | None = None):
        self._log = folder / "children.log"
        own = {name: value for name, value in os.environ.items() if not name.startswith("RAINCHECK_")}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**own, "PYTHONPATH": str(HOUSE), **(environment or {})},
            )

    def hear(self) -> dict[str, Any]:
        """Its next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise RuntimeError(f"A process of the bench ended with {code}:\n{self._log.read_text()[-3000:]}")
        return msgspec.json.decode(line)

    def tell(self, **facts: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(facts) + b"\n")
        self._process.stdin.flush()

    def resident(self) -> int:
        """Bytes of memory it holds."""
        shown = subprocess.run(["ps", "-o", "rss=", "-p", str(self._process.pid)], capture_output=True, check=True)
        return int(shown.stdout) * 1024

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for what does not heed it. Stopping what has ended already does nothing."""
        self._process.terminate()
        try:
            self._process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self.kill()

    def kill(self) -> None:
        """SIGKILL: no handler runs, nothing is flushed."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


class Site(Child):
    """A process that serves HTTP on a port of this machine."""

    port: int

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """The body of the answer. Raises urllib.error.HTTPError for an error."""
        headers = {"content-type": "application/json"} if body else {}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, headers, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.read()


class Upstream(Site):
    """The instant upstream, which counts its calls."""

    def calls(self) -> int:
        return self._seen()["count"]

    def seconds_taken(self) -> float:
        """From the first call to the last."""
        seen = self._seen()
        return seen["last_at"] - seen["first_at"]

    def first_call_since_forgotten(self) -> float:
        """When (time.monotonic, which all processes of a machine share) it came; waits for it."""
        return wait_for(lambda: self._seen()["first_at"])

    def forget(self) -> None:
        self.ask("DELETE", "/calls")

    def _seen(self) -> dict[str, Any]:
        return msgspec.json.decode(self.ask("GET", "/calls"))


class Load(Child):
    """The load generator."""

    def run(self, job: str, **details: Any) -> dict[str, Any]:
        """Do a job and return what it measured. Raises RuntimeError when a reply was not what it should be."""
        self.tell(job=job, **details)
        answer = self.hear()
        if "error" in answer:
            raise RuntimeError(f"{job}: {answer['error']}")
        return answer


@contextmanager
def upstream(folder: Path, *, hold: bool = False) -> Generator[Upstream]:
    """An upstream that answers at once or, with `hold`, never."""
    child = Upstream([sys.executable, "-m", "bench.upstream", *(["--hold"] if hold else [])], folder)
    with _stopped(child):
        child.port = child.hear()["port"]
        yield child


def echo(folder: Path, *, posted: bytes, got: bytes) -> AbstractContextManager[Site]:
    """A bare echo on Raincheck's HTTP stack, with these replies to a POST and to a GET."""
    return _echoing("bench.echo", folder, posted=posted, got=got)


def grpc_echo(folder: Path, *, started: bytes, got: bytes) -> AbstractContextManager[Site]:
    """A bare echo on Raincheck's gRPC stack, with these serialized replies to a start and to a poll."""
    return _echoing("bench.grpc_echo", folder, started=started, got=got)


@contextmanager
def _echoing(module: str, folder: Path, **replies: bytes) -> Generator[Site]:
    child = Site([sys.executable, "-m", module], folder)
    with _stopped(child):
        child.tell(**replies)
        child.port = child.hear()["port"]
        yield child


@contextmanager
def load(folder: Path) -> Generator[Load]:
    """A load generator in a process of its own, so that it shares no lock with what it measures."""
    child = Load([sys.executable, "-m", "bench.load"], folder)
    with _stopped(child):
        child.hear()
        yield child


@contextmanager
def server(
    folder: Path,
    behind: Upstream,
    store: Path | str,
    *,
    max_concurrency: int = 32,
    options: Sequence[str] = (),
    environment: Mapping[str, str] = AT_ONCE,
) -> Generator[Site]:
    """`raincheck serve`, ready."""
    child = start_server(
        folder, behind, store, max_concurrency=max_concurrency, options=options, environment=environment
    )
    with _stopped(child):
        child.hear()
        yield child


def start_server(
    folder: Path,
    behind: Upstream,
    store: Path | str,
    *,
    max_concurrency: int = 32,
    options: Sequence[str] = (),
    environment: Mapping[str, str] = AT_ONCE,
) -> Site:
    """`raincheck serve`, just started; its first line says when it is ready."""
    port = free_port()
    child = Site(
        [RAINCHECK, "serve", "--json", "--port", str(port), *_shared(behind, store, max_concurrency), *options],
        folder,
        environment={**AT_ONCE, **environment},
    )
    child.port = port
    return child


@contextmanager
def worker(folder: Path, behind: Upstream, store: str, *, max_concurrency: int = 32) -> Generator[Child]:
    """`raincheck work`, ready."""
    child = Child([RAINCHECK, "work", "--json", *_shared(behind, store, max_concurrency)], folder, environment=AT_ONCE)
    with _stopped(child):
        child.hear()
        yield child


def _shared(behind: Upstream, store: Path | str, max_concurrency: int) -> list[str]:
    url = f"sqlite:///{store}" if isinstance(store, Path) else store
    return ["--store", url, "--upstream", behind.base_url, "--max-concurrency", str(max_concurrency)]


def wait_for(question: Any, *, within: float = PATIENCE) -> Any:
    """The first answer that is not falsy."""
    give_up = time.monotonic() + within
    while not (answer := question()):
        if time.monotonic() > give_up:
            raise TimeoutError("what the bench waited for did not happen")
        time.sleep(0.02)
    return answer


def allow_many_sockets() -> None:
    """As many open files as this process and its children may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 16_384 if hard == resource.RLIM_INFINITY else min(16_384, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextmanager
def _stopped(child: Child) -> Generator[None]:
    try:
        yield
    finally:
        child.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
