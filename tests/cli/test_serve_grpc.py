"""`raincheck serve --grpc-port`: what it says, what stops it, and that nobody else needs its packages."""

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from raincheck.cli import extras
from raincheck.cli.serve import banner_of_grpc, grpc_place
from raincheck.core.configuration import read
from raincheck.core.settings import Settings
from tests.cli.desk import run
from tests.grpc.certificates import a_certificate
from tests.stories.processes import Server, an_upstream, free_port


def without(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    """As if these packages were not installed."""
    find = extras.find_spec

    def found(name: str) -> object:
        return None if name in missing else find(name)

    monkeypatch.setattr(extras, "find_spec", found)


def serving(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: what it sets up for its logs stays set up."""
    command = [sys.executable, "-m", "raincheck.cli.main", "serve", "--port", str(free_port()), *options]
    command += ["--store", f"sqlite:///{folder / 'raincheck.db'}", "--upstream", "http://127.0.0.1:9"]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


@pytest.mark.slow("starts a server and the SDK")
async def test_the_sdk_is_served_beside_http_and_the_port_closes_within_seconds(tmp_path: Path) -> None:
    from xai_sdk import AsyncClient

    port = free_port()
    async with an_upstream(tmp_path) as upstream:
        server = Server(tmp_path, upstream, free_port(), ["--grpc-port", str(port)])
        process = await server.start()
        assert json.loads(process.first_line)["grpc"] == f"localhost:{port}"
        client = AsyncClient(api_key="none", api_host=f"localhost:{port}")
        assert [model.name for model in await client.models.list_language_models()] == ["m"]
        async with asyncio.timeout(10):
            assert await process.terminate() == 0
        await client.close()
    log = (tmp_path / "server.log").read_text()
    assert f'"grpc_port": {port}' in log
    assert "Traceback" not in log


@pytest.mark.slow("starts a server of its own")
def test_a_taken_port_is_said_before_anything_is_made(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = serving(tmp_path, "--grpc-port", port)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"Cannot listen on 127.0.0.1:{port}" in ended.stderr
    assert "--grpc-port" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "raincheck.db").exists()


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        (["grpc"], "grpcio, which is not"),
        (["xai_sdk"], "xai-sdk, which is not"),
        (["grpc", "xai_sdk"], "which are not"),
    ],
)
@pytest.mark.parametrize("where", ["flag", "variable", "file"])
def test_without_its_packages_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: Sequence[str], named: str, where: str
) -> None:
    without(monkeypatch, *missing)
    config = tmp_path / "raincheck.toml"
    config.write_text("[grpc]\nport = 50051" if where == "file" else "", encoding="utf-8")
    flag = ["--grpc-port", "50051"] if where == "flag" else []
    variables = {"RAINCHECK_GRPC_PORT": "50051"} if where == "variable" else {}
    ended = run("serve", "--config", str(config), *flag, **variables)
    assert ended.code == 1
    assert named in ended.stderr
    assert "pip install 'raincheck[server,xai]'" in ended.stderr


def test_check_says_what_is_wrong_with_the_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "raincheck.toml"

    def checked(text: str) -> tuple[int, str]:
        config.write_text(text, encoding="utf-8")
        ended = run("check", "--config", str(config))
        return ended.code, ended.stdout

    cert, key = a_certificate(tmp_path)
    pair = f'tls_cert = "{cert}"\ntls_key = "{key}"'
    assert checked("[grpc]\nport = 50051")[0] == 0
    assert "would serve the xai-sdk on port 50051 with TLS" in checked(f"[grpc]\nport = 50051\n{pair}")[1]
    assert "grpc.tls_cert has no effect without grpc.port" in checked(f"[grpc]\n{pair}")[1]
    for text, words in {
        "[grpc]\nport = 8421": "grpc.port and server.port are both 8421",
        f'[grpc]\nport = 1\ntls_cert = "{cert}"': "grpc.tls_key is missing",
        f'[grpc]\nport = 1\ntls_key = "{key}"': "grpc.tls_cert is missing",
        f'[grpc]\nport = 1\ntls_cert = "{cert}"\ntls_key = "/none"': "grpc.tls_key: /none cannot be read",
        f'[grpc]\nport = 1\ntls_cert = "{cert}"\ntls_key = "{config}"': "belong together",
        "[grpc]\nport = 0": "grpc.port must be",
    }.items():
        code, told = checked(text)
        assert (code, words in told) == (1, True), told
    without(monkeypatch, "grpc")
    assert "error: a gRPC port (grpc.port is 50051) needs grpcio" in checked("[grpc]\nport = 50051")[1]


def test_a_worker_passes_over_the_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It shares its configuration with the servers, and neither needs the packages nor the files."""
    without(monkeypatch, "grpc", "xai_sdk")
    config = tmp_path / "raincheck.toml"
    config.write_text('[grpc]\nport = 50051\ntls_cert = "/none"\ntls_key = "/none"', encoding="utf-8")
    ended = run("work", "--config", str(config), "--store", f"sqlite:///{tmp_path / 'raincheck.db'}")
    assert "A worker of its own needs a store that processes can share" in ended.stderr
    assert read(config, environ={}).errors == []


@pytest.mark.parametrize(
    ("settings", "place", "client"),
    [
        (Settings(grpc_port=50051), "localhost:50051", 'Client(api_host="localhost:50051")'),
        (Settings(grpc_port=1, host="::1"), "localhost:1", 'Client(api_host="localhost:1")'),
        (Settings(grpc_port=1, host="0.0.0.0"), "localhost:1", 'api_host="HOST:1", use_insecure_channel=True'),
        (Settings(grpc_port=1, host="10.0.0.1"), "10.0.0.1:1", 'api_host="HOST:1", use_insecure_channel=True'),
        (
            Settings(grpc_port=1, grpc_cert="c", grpc_key="k"),
            "127.0.0.1:1",
            "a name that the certificate has, not localhost",
        ),
    ],
)
def test_the_banner_says_how_the_sdk_connects(settings: Settings, place: str, client: str) -> None:
    assert grpc_place(settings) == place
    [(label, line)] = banner_of_grpc(settings)
    assert (label, client in line) == ("grpc", True)


def test_without_a_port_there_is_nothing_to_say() -> None:
    assert grpc_place(Settings()) is None
    assert banner_of_grpc(Settings()) == []
