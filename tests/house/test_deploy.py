"""What stands in `deploy/` names only what the product has: commands, flags, settings, ports, probes and metrics."""

import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from raincheck.cli.main import app
from raincheck.core.clock import SECOND
from raincheck.core.configuration import read
from raincheck.core.settings import OTHER_VARIABLES, SETTINGS
from raincheck.http.app import PROBES
from raincheck.http.files import create_file
from raincheck.telemetry import Metrics

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
OURS = ("api", "worker")


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def compose() -> dict[str, Any]:
    return yaml.safe_load(text(COMPOSE))


@cache
def manifests() -> list[dict[str, Any]]:
    return [found for path in MANIFESTS for found in yaml.safe_load_all(text(path))]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {found["metadata"]["name"]: found for found in manifests() if found["kind"] == kind}


def containers() -> dict[str, dict[str, Any]]:
    """By deployment."""
    return {name: found["spec"]["template"]["spec"] for name, found in of_kind("Deployment").items()}


def commands() -> Iterator[list[str]]:
    """Every call of ours that something here makes or tells to make."""
    yield from (compose()["services"][name]["command"] for name in OURS)
    yield from (pod["containers"][0]["args"] for pod in containers().values())
    [image] = re.findall(r"^CMD (\[.*\])$", text(DEPLOY / "Dockerfile"), flags=re.MULTILINE)
    yield json.loads(image)
    for path in (COMPOSE, DEPLOY / "kubernetes" / "kustomization.yaml"):
        yield from (shlex.split(call) for call in re.findall(r"^# .*\s(raincheck keys .*)$", text(path), re.MULTILINE))


def test_every_command_and_flag_exists():
    root: Any = get_command(app)
    for words in commands():
        command, rest = root, words[1:]
        assert words[0] == "raincheck"
        while hasattr(command, "commands"):
            command, rest = command.commands[rest[0]], rest[1:]
        known = {option for parameter in command.params for option in parameter.opts}
        assert [word for word in rest if word.startswith("--") and word not in known] == [], words


def test_every_variable_exists():
    known = {setting.variable for setting in SETTINGS} | OTHER_VARIABLES.keys()
    files = [path for path in DEPLOY.rglob("*") if path.is_file()]
    named = {name for path in files for name in re.findall(r"\bRAINCHECK_[A-Z_]+", text(path))}
    assert "RAINCHECK_STORE_URL" in named
    assert named - known == set()


@pytest.mark.parametrize("path", [DEPLOY / "raincheck.toml", DEPLOY / "kubernetes" / "raincheck.toml"], ids=str)
def test_the_configuration_is_valid(path: Path):
    reading = read(path, environ={"RAINCHECK_STORE_URL": "postgresql://raincheck@postgres/raincheck"})
    assert (reading.errors, reading.warnings) == ([], [])
    assert text(path) == text(DEPLOY / "raincheck.toml")


def test_whoever_stops_a_process_waits_for_longer_than_its_attempts_may_take():
    grace = read(DEPLOY / "raincheck.toml", environ={}).settings.grace // SECOND
    waits = [pod["terminationGracePeriodSeconds"] for pod in containers().values()]
    waits += [int(compose()["services"][name]["stop_grace_period"].removesuffix("s")) for name in OURS]
    assert len(waits) == 4
    assert min(waits) >= grace + 20


def test_probes_and_ports_are_the_ones_that_are_answered():
    answered = {path for handler in PROBES for path in handler.paths}
    for name, pod in containers().items():
        [container] = pod["containers"]
        port, *others = container["ports"]
        annotations = of_kind("Deployment")[name]["spec"]["template"]["metadata"]["annotations"]
        asked = {probe: container[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
        assert {probe["path"] for probe in asked.values()} | {annotations["prometheus.io/path"]} == answered
        assert {probe["port"] for probe in asked.values()} == {port["name"]}
        assert [other["containerPort"] for other in others] == ([grpc_port()] if "serve" in container["args"] else [])
        assert str(port["containerPort"]) == annotations["prometheus.io/port"] == listening_port(container["args"])
    dockerfile = text(DEPLOY / "Dockerfile")
    assert "/health/live" in dockerfile
    assert f"EXPOSE {listening_port([])} {grpc_port()}" in dockerfile
    conf = text(DEPLOY / "nginx.conf")
    assert re.findall(r"server api:(\d+) ", conf) == [listening_port([]), str(grpc_port())]


def test_the_xai_sdk_is_served_wherever_the_rest_is():
    assert "--extra xai" in text(DEPLOY / "Dockerfile")
    services = compose()["services"]
    assert services["api"]["expose"] == [listening_port([]), str(grpc_port())]
    assert f"listen {grpc_port()};" in text(DEPLOY / "nginx.conf")
    assert f"127.0.0.1:{grpc_port()}:{grpc_port()}" in services["balancer"]["ports"]
    [service] = of_kind("Service").values()
    assert {port["targetPort"] for port in service["spec"]["ports"]} == {
        port["name"] for port in containers()["raincheck-api"]["containers"][0]["ports"]
    }


def grpc_port() -> int:
    port = read(DEPLOY / "raincheck.toml", environ={}).settings.grpc_port
    assert port is not None
    return port


def listening_port(arguments: list[str]) -> str:
    """What the image listens on, unless the call says otherwise."""
    [port] = re.findall(r"RAINCHECK_PORT=(\d+)", text(DEPLOY / "Dockerfile"))
    return arguments[arguments.index("--port") + 1] if "--port" in arguments else port


def test_scaling_asks_for_metrics_that_exist():
    page = Metrics().page().decode()
    path = DEPLOY / "kubernetes" / "scaling.yaml"
    named = set(re.findall(r"\braincheck_\w+", text(path)))
    assert {"raincheck_requests", "raincheck_oldest_pending_seconds"} <= named
    assert [name for name in named if f"# HELP {name} " not in page] == []
    [scaled] = of_kind("ScaledObject").values()
    assert scaled["spec"]["scaleTargetRef"]["name"] in containers()


def test_a_kustomization_names_every_manifest_and_what_it_is_made_from():
    folder = DEPLOY / "kubernetes"
    made = yaml.safe_load(text(folder / "kustomization.yaml"))
    assert {*made["resources"], "kustomization.yaml"} == {path.name for path in MANIFESTS}
    assert all((folder / name).exists() for name in made["configMapGenerator"][0]["files"])
    assert (folder / "secret.env.example").exists()
    assert {image["name"] for image in made["images"]} == {
        container["image"] for pod in containers().values() for container in pod["containers"]
    }
    for name, selected in [*of_kind("Service").items(), *of_kind("PodDisruptionBudget").items()]:
        labels = selected["spec"]["selector"].get("matchLabels", selected["spec"]["selector"])
        pods = [found["spec"]["template"]["metadata"]["labels"] for found in of_kind("Deployment").values()]
        assert [pod for pod in pods if labels.items() <= pod.items()], name


def test_the_images_of_compose_and_kubernetes_are_of_this_version():
    from raincheck import __version__

    [image] = yaml.safe_load(text(DEPLOY / "kubernetes" / "kustomization.yaml"))["images"]
    assert image["newTag"] == __version__
    assert {compose()["services"][name]["image"] for name in OURS} == {f"raincheck:{__version__}"}
    assert f"raincheck:{__version__}" in text(DEPLOY / "Dockerfile")


def test_the_balancer_waits_for_longer_than_a_long_poll():
    conf = text(DEPLOY / "nginx.conf")
    [minutes] = re.findall(r"proxy_read_timeout (\d+)m;", conf)
    assert int(minutes) * 60 > 60
    assert "proxy_buffering off;" in conf
    settings = read(DEPLOY / "raincheck.toml", environ={}).settings
    [size, *of_files] = re.findall(r"client_max_body_size (\d+)m;", conf)
    assert int(size) << 20 == settings.max_body_bytes
    # A file is sent in a form, which has to fit as well.
    assert [int(each) << 20 for each in of_files] == [settings.files_max_bytes + (1 << 20)] * 2


def test_the_balancer_takes_large_files_wherever_files_are_taken():
    """As they come: one that gathered them first would need the disk for it."""
    conf = text(DEPLOY / "nginx.conf")
    large = re.findall(r"location = (\S+) \{\s+client_max_body_size", conf)
    assert set(large) == create_file.paths
    assert "proxy_request_buffering off;" in conf
