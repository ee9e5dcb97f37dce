"""The parent's side of the embedded model: takes a GGUF file, keeps a child process serving it on a Unix socket."""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import msgspec

from raincheck.core.errors import ModelUnavailable

READY_WITHIN = 60.0
"""Seconds a child has to load its model."""
STOP_WITHIN = 2.0
"""Seconds between asking a child to end and ending it."""
_BACKOFF_FIRST, _BACKOFF_LONGEST = 0.1, 10.0
_STEADY_AFTER = 60.0
"""Seconds of service after which the next death is taken for a first one."""
_STDERR_KEPT = 4096
_LONGEST_SOCKET_PATH = 100
"""Bytes; the system's limit is 108 on Linux and 104 on macOS."""


class LocalModel:
    """A model in a child process, started again whenever it dies.

    `start` returns when the model answers and raises ModelUnavailable, saying what to do, when it never will. After
    that deaths are survived: `down` says why there is no answer just now, and `restarts` counts them.
    """

    def __init__(self, path: Path, *, alias: str, parallel: int = 2, context: int = 4096) -> None:
        self.path = path
        self.alias = alias
        self.parallel = parallel
        self.context = context
        """Tokens of prompt and answer together, for each of the parallel requests."""
        self.restarts = 0
        self.down: str | None = "The embedded model is not started."
        self._folder: Path | None = None
        self._child: _Child | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def socket(self) -> Path:
        """Where it serves, in a folder that is this user's alone."""
        if self._folder is None:
            self._folder = _private_folder()
        return self._folder / "model.sock"

    @property
    def pid(self) -> int | None:
        """The child's process id while there is one."""
        return self._child.pid if self._child else None

    async def start(self) -> None:
        _check_file(self.path)
        try:
            child = await self._launch()
        except BaseException:
            await self.close()
            raise
        self._watcher = asyncio.create_task(self._supervise(child), name=f"supervise {self.alias}")

    async def close(self) -> None:
        """Stop the child and leave nothing behind."""
        if self._watcher:
            self._watcher.cancel()
            await asyncio.wait({self._watcher})
            self._watcher = None
        if self._child:
            await self._child.stop()
            self._child = None
        if self._folder:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
            self._folder = None
        self.down = "The embedded model is stopped."

    async def _supervise(self, child: "_Child") -> None:
        loop = asyncio.get_running_loop()
        backoff = _BACKOFF_FIRST
        while True:
            started = loop.time()
            await child.until_exit()
            if loop.time() - started > _STEADY_AFTER:
                backoff = _BACKOFF_FIRST
            self.down = f"The embedded model ended ({child.ending()}) and is being started again."
            while self.down:
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, _BACKOFF_LONGEST)
                self.restarts += 1
                try:
                    child = await self._launch()
                except (ModelUnavailable, OSError) as error:
                    self.down = str(error)

    async def _launch(self) -> "_Child":
        """Start a child and wait until it serves."""
        child = self._child = await _Child.spawn(
            *("--model", str(self.path), "--alias", self.alias, "--socket", str(self.socket)),
            *("--parallel", str(self.parallel), "--context", str(self.context), "--threads", str(_threads())),
        )
        try:
            async with asyncio.timeout(READY_WITHIN):
                said = await child.first_line()
        except TimeoutError:
            await child.stop()
            raise ModelUnavailable(f"The embedded model did not get ready within {READY_WITHIN:.0f} s.") from None
        except asyncio.CancelledError:
            await child.stop()
            raise
        if said is None or not said.ready:
            await child.until_exit()
            raise ModelUnavailable(child.why(said, self.path))
        self.down = None
        return child


class _Said(msgspec.Struct):
    """The child's one line."""

    ready: bool = False
    error: str | None = None
    message: str = ""


class _Child:
    """One child process with what it says: its one line, and the end of what native code wrote to standard error."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._stderr = b""
        # Read as it comes, or the pipe fills and the child stands still.
        self._reader = asyncio.create_task(self._keep_stderr(), name="embedded model's standard error")

    @classmethod
    async def spawn(cls, *arguments: str) -> "_Child":
        pipe = asyncio.subprocess.PIPE
        command = (sys.executable, "-P", "-m", "raincheck.upstream.local.child", *arguments)
        return cls(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe))

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process.returncode is None else None

    async def first_line(self) -> _Said | None:
        """The child's line, None when it ended without one."""
        assert self._process.stdout is not None  # noqa: S101
        line = await self._process.stdout.readline()
        return msgspec.json.decode(line, type=_Said) if line else None

    async def until_exit(self) -> None:
        await self._process.wait()
        await self._reader

    async def stop(self) -> None:
        """Ask it to end, by ending its input, then end it."""
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.close()
        try:
            async with asyncio.timeout(STOP_WITHIN):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
        await self.until_exit()

    def ending(self) -> str:
        """How it ended, in words."""
        code = self._process.returncode
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exit status {code}"

    def why(self, said: _Said | None, path: Path) -> str:
        """Why it never got ready, and what to do about it."""
        if self._process.returncode == -signal.SIGILL:
            return (
                "This CPU is too old for the embedded model: it needs AVX2. "
                "Use a model server elsewhere with --upstream URL."
            )
        if said and said.error == "import_failed":
            return _import_failure(said.message)
        words = self._stderr.decode(errors="replace").strip().splitlines()[-3:]
        native = " / ".join(words) or (said.message if said else self.ending())
        return f"The model file {path} could not be loaded; is it whole, and a GGUF file? llama.cpp said: {native}"

    async def _keep_stderr(self) -> None:
        assert self._process.stderr is not None  # noqa: S101
        while chunk := await self._process.stderr.read(_STDERR_KEPT):
            self._stderr = (self._stderr + chunk)[-_STDERR_KEPT:]


def _import_failure(message: str) -> str:
    if "libgomp" in message:
        return (
            "The embedded model needs the system library libgomp, which is not installed: "
            "apt-get install libgomp1 (Debian, Ubuntu), dnf install libgomp (Fedora)."
        )
    if "No module named" in message:
        return "The embedded model's runtime is not installed: pip install 'raincheck[local]'."
    return f"The embedded model's runtime cannot be loaded here: {message}"


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ModelUnavailable(f"The model file {path} cannot be read: {error.strerror or error}.") from error
    if magic != b"GGUF":
        raise ModelUnavailable(f"The model file {path} is not a GGUF file; give one with --model-path.")


def _private_folder() -> Path:
    folder = tempfile.mkdtemp(prefix="raincheck-")
    if len(os.fsencode(folder)) > _LONGEST_SOCKET_PATH - len("/model.sock"):
        Path(folder).rmdir()
        folder = tempfile.mkdtemp(prefix="raincheck-", dir="/tmp")
    return Path(folder)


def _threads() -> int:
    """One CPU is left to the server: at full count the model's own barriers slow it many times under any load."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cpus - 1, 4))
