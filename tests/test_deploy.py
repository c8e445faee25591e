"""The samples of deploy/ and the Dockerfile speak of what there is: settings, ports, paths, metrics, fitting times."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.routing import Route

from auth import EnvironmentKeys, Keyring
from gateway.app import create_app
from gateway.cli import COMMANDS
from gateway.configuration.table import KNOWN_VARIABLES
from gateway.durations import parse_duration
from gateway.settings import DEFAULT_PORT, Settings

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
FILES = [*sorted(path for path in DEPLOY.rglob("*") if path.is_file()), ROOT / "Dockerfile"]


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def kubernetes(kind: str) -> Any:
    (found,) = [document for document in map(loaded, KUBERNETES) if document["kind"] == kind]
    return found


@pytest.fixture(scope="module")
def paths() -> set[str]:
    """What a gateway answers."""
    keys = EnvironmentKeys.of("default", "an-example-secret-of-thirty-two-bytes")
    app: Any = create_app(Settings(redis_url="redis://unused"), Keyring([keys]))
    while not hasattr(app, "routes"):
        app = app.app
    return {route.path for route in app.routes if isinstance(route, Route)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_variable_is_one_that_is_read(path: Path) -> None:
    """A misspelled one would be ignored, and somebody's setting with it."""
    named = set(re.findall(r"\bRUNCAST_[A-Z_]+\b", path.read_text(encoding="utf-8")))
    assert named <= KNOWN_VARIABLES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_health_path_is_one_that_is_answered(path: Path, paths: set[str]) -> None:
    """Else a gateway would never be ready, or always be killed."""
    named = set(re.findall(r"/(?:livez|readyz|healthz|startupz|metrics)\b", path.read_text(encoding="utf-8")))
    assert named <= paths


def container() -> Any:
    (found,) = kubernetes("Deployment")["spec"]["template"]["spec"]["containers"]
    return found


def test_the_pod_is_probed_where_it_listens() -> None:
    """By names of ports that it has; and what it is told to listen on is what is probed."""
    found = container()
    ports = {port["name"]: port["containerPort"] for port in found["ports"]}
    variables = {entry["name"]: entry.get("value") for entry in found["env"]}
    assert variables["RUNCAST_PORT"] == str(ports["http"])
    assert variables["RUNCAST_METRICS_PORT"] == str(ports["metrics"])
    probes = {name: found[name]["httpGet"] for name in ("livenessProbe", "readinessProbe", "startupProbe")}
    assert {probe["port"] for probe in probes.values()} == {"http"}
    # A Redis that is away is no reason to restart a gateway, and with it to disturb all its viewers.
    assert probes["livenessProbe"]["path"] == "/livez"
    assert probes["readinessProbe"]["path"] == "/readyz"
    assert kubernetes("Service")["spec"]["ports"][0]["targetPort"] == "http"


def test_the_pod_has_the_time_that_it_takes_to_drain() -> None:
    """preStop and drain together are shorter than what comes before SIGKILL."""
    found = container()
    variables = {entry["name"]: entry.get("value") for entry in found["env"]}
    command, seconds = found["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    needed = int(seconds) + parse_duration(variables["RUNCAST_DRAIN"])
    assert needed < kubernetes("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]


def test_the_parts_of_the_manifests_belong_together() -> None:
    """Selectors find the pods, the Secret has the files that are mounted, and kustomize lists what there is."""
    deployment = kubernetes("Deployment")
    pod = deployment["spec"]["template"]
    labels = pod["metadata"]["labels"]
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        kubernetes("Service")["spec"]["selector"],
        kubernetes("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ):
        assert selector == labels
    assert kubernetes("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert {mount["name"] for mount in container()["volumeMounts"]} == set(volumes)
    secret = kubernetes("Secret")
    assert volumes["secrets"]["secret"]["secretName"] == secret["metadata"]["name"]
    files = {Path(entry["value"]).name for entry in container()["env"] if entry["name"].endswith("_FILE")}
    assert files == set(secret["stringData"])
    assert container()["args"] == ["serve"]
    listed = set(kubernetes("Kustomization")["resources"])
    assert listed | {"autoscaler.yaml", "kustomization.yaml"} == {path.name for path in KUBERNETES}


def test_the_autoscaler_knows_a_metric_that_is_exported() -> None:
    """Else it would never add a gateway."""
    exported = (ROOT / "gateway" / "metrics" / "families.py").read_text(encoding="utf-8")
    for metric in kubernetes("HorizontalPodAutoscaler")["spec"]["metrics"]:
        assert f'"{metric["pods"]["metric"]["name"]}"' in exported


@pytest.mark.parametrize("service", ["redis", "runcast", "caddy"])
def test_every_service_of_the_compose_file_is_confined(service: str) -> None:
    """A file system that can't be written, and no rights beyond what it needs."""
    found = loaded(DEPLOY / "compose.yaml")["services"][service]
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]


def test_the_compose_file_fits_what_it_starts() -> None:
    """Whom it waits for says that it is well; ports and addresses meet; the stop is waited for."""
    services = loaded(DEPLOY / "compose.yaml")["services"]
    gateway = services["runcast"]
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert f"RUNCAST_PORT={DEFAULT_PORT}" in image
    assert "HEALTHCHECK" in image
    assert services["caddy"]["environment"]["UPSTREAMS"] == f"runcast:{DEFAULT_PORT}"
    assert set(services["caddy"]["environment"]) <= set(re.findall(r"{\$(\w+)", (DEPLOY / "Caddyfile").read_text()))
    assert gateway["environment"]["RUNCAST_REDIS_URL"].startswith("redis://redis:")
    for found in services.values():
        for other, wanted in found.get("depends_on", {}).items():
            assert wanted["condition"] == "service_healthy"
            assert other == "runcast" or "healthcheck" in services[other]
    assert parse_duration(gateway["environment"]["RUNCAST_DRAIN"]) < parse_duration(gateway["stop_grace_period"])
    named = {volume.partition(":")[0] for found in services.values() for volume in found.get("volumes", [])}
    assert {name for name in named if not name.startswith(".")} == set(loaded(DEPLOY / "compose.yaml")["volumes"])
    assert all((DEPLOY / name).exists() for name in named if name.startswith("."))


def test_signals_reach_the_gateway_in_its_container() -> None:
    """A shell as the first process would keep SIGTERM for itself; and root is nobody there."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert 'ENTRYPOINT ["runcast"]' in lines
    assert 'CMD ["serve"]' in lines
    assert lines.index("USER runcast") < lines.index('ENTRYPOINT ["runcast"]')
    assert "serve" in COMMANDS


def unit() -> dict[str, list[str]]:
    """The directives of the systemd unit; some come several times."""
    directives: dict[str, list[str]] = {}
    for line in (DEPLOY / "runcast.service").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith(("#", "[")):
            name, separator, value = line.partition("=")
            assert separator, line
            directives.setdefault(name, []).append(value)
    return directives


def test_the_unit_stops_and_reloads_as_the_gateway_does() -> None:
    """SIGTERM to the parent alone, with the time that the drain takes; SIGHUP for other keys."""
    found = unit()
    variables = dict(entry.split("=", 1) for entry in found["Environment"])
    assert found["KillSignal"] == ["SIGTERM"]
    assert found["KillMode"] == ["mixed"]
    assert parse_duration(variables["RUNCAST_DRAIN"]) < int(found["TimeoutStopSec"][0])
    assert found["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert found["ExecStart"] == ["/opt/runcast/bin/runcast serve"]


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """Where there is a systemd to ask: it finds no mistake, and calls the service well confined."""
    text = (DEPLOY / "runcast.service").read_text(encoding="utf-8")
    program = Path(sys.executable).with_name("runcast")
    assert program.exists()
    copy = tmp_path / "runcast.service"
    copy.write_text(text.replace("/opt/runcast/bin/runcast", str(program)))
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return  # what can be said without it is said above
    verified = subprocess.run([analyze, "verify", str(copy)], capture_output=True, text=True, check=False)
    about_us = [line for line in verified.stderr.splitlines() if "runcast.service" in line]
    assert (verified.returncode, about_us) == (0, []), verified.stderr
    rated = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=20", str(copy)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert rated.returncode == 0, rated.stdout[-500:]
