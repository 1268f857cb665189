"""The container files, checked as far as possible without a container engine."""

import json
import re
import shutil
import subprocess
from functools import cache
from typing import Any

import yaml

from tests.conftest import ROOT, run_esblend


@cache
def client() -> list[str] | None:
    """The Compose client on this machine: Docker's plug-in, or the program that Debian packages as docker-compose."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            done = subprocess.run([*command, "version"], capture_output=True, check=False)
            if done.returncode == 0:
                return command
    return None


@cache
def compose() -> dict[str, Any]:
    """The services as the Compose client reads them, which checks them too; as plain YAML on a machine without a client. No engine
    is needed."""
    compose = client()
    if compose is None:
        return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))
    env = {"ELASTIC_PASSWORD": "secret", "PATH": "/usr/local/bin:/usr/bin:/bin"}
    command = [*compose, "--profile", "monitoring", "config"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(yaml.safe_load(done.stdout))


def test_every_variable_has_a_value() -> None:
    """An old client leaves `${A:-${B}}` as text, which became Grafana's password."""
    text = (ROOT / "docker-compose.yml").read_text()
    assert not re.findall(r"\$\{[^}]*\$\{", text)
    if client() is not None:
        for name, service in compose()["services"].items():
            for variable, value in service.get("environment", {}).items():
                assert "${" not in str(value), (name, variable)


def test_a_missing_password_is_named() -> None:
    compose = client()
    if compose is None:
        return
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    done = subprocess.run([*compose, "config"], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "ELASTIC_PASSWORD" in done.stderr
    assert "set it in .env" in done.stderr


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
