"""The container files, checked as far as possible without a container engine."""

import json
import shutil
import subprocess
from typing import Any

import yaml

from tests.conftest import ROOT, run_esblend


def compose() -> dict[str, Any]:
    """The services; by `docker compose config` where the client has it, which checks them too, else as plain YAML."""
    env = {"ELASTIC_PASSWORD": "x", "PATH": "/usr/local/bin:/usr/bin:/bin"}
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0:
        command = [docker, "compose", "--profile", "monitoring", "config", "--format", "json"]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))


def test_each_service_has_a_health_check_and_a_memory_limit() -> None:
    services = compose()["services"]
    always = {name for name, service in services.items() if not service.get("profiles")}
    assert always == {"elasticsearch", "redis", "feed", "worker", "gateway"}
    assert set(services) - always == {"prometheus", "grafana", "flower"}
    for name, service in services.items():
        assert service.get("healthcheck"), name
        assert service.get("mem_limit"), name


def test_the_start_commands_are_those_of_the_command_line() -> None:
    services = compose()["services"]
    for name in ("feed", "worker", "gateway"):
        assert services[name]["command"] == [name]
        assert run_esblend(name, "--help").returncode == 0


def test_elasticsearch_has_security_on_and_only_loopback_is_published() -> None:
    services = compose()["services"]
    assert services["elasticsearch"]["environment"]["xpack.security.enabled"] == "true"
    for service in services.values():
        for port in service.get("ports", []):
            assert "127.0.0.1" in json.dumps(port)


def test_the_image_copies_what_the_project_needs() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = {word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]}
    for name in copied:
        assert (ROOT / name).exists(), name
    assert {"esblend", "mappings", "indexer", "workers", "query"} <= copied
    assert "USER esblend" in lines
