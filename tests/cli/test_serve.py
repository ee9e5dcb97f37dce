"""`raincheck serve`: what stops it before it starts, told in a line."""

import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from raincheck.app import App
from raincheck.cli.serve import standing
from raincheck.core.clock import now
from raincheck.core.settings import Settings, UpstreamSettings, local_url
from raincheck.upstream.catalogue import Catalogue
from tests.cli.desk import run


def test_a_wrong_configuration_lists_all_that_is_wrong(tmp_path: Path):
    config = tmp_path / "raincheck.toml"
    config.write_text("a = 1\nb = 2", encoding="utf-8")
    ended = run("serve", "--config", str(config), "--port", "0")
    assert (ended.code, ended.stdout) == (1, "")
    assert ended.stderr.count("\n  - ") == 3
    assert "--port must be" in ended.stderr


def test_a_config_that_is_not_there_is_a_usage_error(tmp_path: Path):
    ended = run("serve", "--config", str(tmp_path / "none.toml"))
    assert ended.code == 2
    assert "none.toml" in ended.stderr


@pytest.mark.slow("starts a server of its own")
def test_a_taken_port_is_told_with_what_to_do(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        store = f"sqlite:///{tmp_path / 'raincheck.db'}"
        # In a process of its own: what it sets up for its logs stays set up.
        command = [sys.executable, "-m", "raincheck.cli.main", "serve", "--port", port, "--store", store]
        command += ["--upstream", "http://127.0.0.1:9"]
        ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"Cannot listen on 127.0.0.1:{port}" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:8421"), ("0.0.0.0", "http://127.0.0.1:8421"), ("::1", "http://[::1]:8421")],
)
def test_the_address_is_one_that_can_be_opened(host: str, url: str):
    assert local_url(Settings(host=host)) == url


def test_the_banner_says_what_the_renderer_lacks(monkeypatch: pytest.MonkeyPatch):
    embedded = Settings(upstreams=(UpstreamSettings(name="local", kind="local"),))
    app = cast("App", SimpleNamespace(settings=embedded, catalogue=Catalogue([], now)))
    assert [label for label, _ in standing(app)] == ["store"]
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "no-such-ffmpeg")
    assert standing(app)[-1][0] == "videos"
    assert "raincheck\\[preview]" in standing(app)[-1][1]
