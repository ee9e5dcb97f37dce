"""Who may import whom: the floors of the house, and what the base install must do without."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXTRAS = (
    "litestar",
    "uvicorn",
    "apsw",
    "aiohttp",
    "structlog",
    "prometheus_client",
    "uuid_utils",
    "xllamacpp",
    "asyncpg",
    "obstore",
    "grpc",
    "google.protobuf",
    "xai_sdk",
)


@pytest.mark.slow("builds the graph of all imports")
def test_the_floors_hold() -> None:
    checked = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def without(modules: tuple[str, ...], code: str) -> str:
    """What the code prints in a fresh interpreter in which these modules cannot be imported."""
    blocked = f"import sys\nfor name in {modules!r}: sys.modules[name] = None\n"
    done = subprocess.run([sys.executable, "-c", blocked + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow("starts an interpreter that imports openai")
def test_the_client_works_without_the_servers_packages() -> None:
    code = "import raincheck.client; from raincheck import Raincheck; print(Raincheck(base_url='http://h').base_url)"
    assert without(EXTRAS, code) == "http://h/v1/"


@pytest.mark.slow("starts an interpreter that imports typer")
def test_the_command_line_works_without_the_servers_packages() -> None:
    code = "import raincheck.cli.main as it; it.app(['--version'], standalone_mode=False)"
    assert without(EXTRAS, code).startswith("raincheck ")


@pytest.mark.slow("starts an interpreter that imports the whole server")
def test_a_server_never_loads_the_client() -> None:
    code = "import raincheck.process, sys; print('openai' in sys.modules)"
    assert without((), code) == "False"


@pytest.mark.slow("starts an interpreter that imports the whole server")
def test_a_server_without_a_grpc_port_does_without_its_packages() -> None:
    code = "import raincheck.process, sys; print([it for it in sys.modules if it.startswith('raincheck.grpc')])"
    assert without(("grpc", "google.protobuf", "xai_sdk"), code) == "['raincheck.grpc', 'raincheck.grpc.edge']"
