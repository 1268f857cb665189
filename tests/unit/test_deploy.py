"""The files in deploy/ use existing metrics, settings and commands."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from typing import Any

import jsonschema
import pytest
import yaml

from esblend import metrics
from esblend.settings import Settings
from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"


def exported() -> set[str]:
    body, _ = metrics.exposition()
    families = set(re.findall(r"^# TYPE (\S+)", body.decode(), re.MULTILINE))
    return families | {f"{name}_{part}" for name in families for part in ("bucket", "sum", "count")}


def test_every_metric_that_is_named_is_exported() -> None:
    files = (*DEPLOY.rglob("*.yaml"), *DEPLOY.rglob("*.json"), ROOT / "docs" / "operations.md")
    texts = [file.read_text() for file in files]
    named = {name for text in texts for name in re.findall(r"\besblend_[a-z_]+", text)}
    assert len(named) > 10
    assert named <= exported()


def test_the_manifests_set_what_is_a_setting_and_run_what_is_a_command() -> None:
    documents = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "esblend.yaml").read_text()))
    config = next(document for document in documents if document["kind"] == "ConfigMap")["data"]
    assert {name.removeprefix("ESBLEND_").lower() for name in config} <= Settings.model_fields.keys()
    pods = [document["spec"]["template"]["spec"] for document in documents if document["kind"] == "Deployment"]
    assert [pod["containers"][0]["args"][0] for pod in pods] == ["feed", "worker", "gateway"]
    for pod in pods:
        assert pod["enableServiceLinks"] is False
        assert pod["containers"][0]["resources"]["limits"]["memory"]
        assert pod["containers"][0]["readinessProbe"]
        assert pod["containers"][0]["livenessProbe"]


def test_every_metric_is_on_the_dashboard() -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
    shown = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", []))
    body, _ = metrics.exposition()
    families = set(re.findall(r"^# TYPE (esblend_\S+)", body.decode(), re.MULTILINE))
    families = {name for name in families if not name.endswith("_created")} - {"esblend_passages_total"}
    assert not {name for name in families if name not in shown}


def test_the_compose_file_mounts_what_is_there() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    mounts = [mount.split(":")[0] for service in services.values() for mount in service.get("volumes", [])]
    local = [mount for mount in mounts if mount.startswith("./")]
    assert len(local) == 4
    for mount in local:
        assert (ROOT / mount).exists(), mount


def test_each_process_has_a_unit() -> None:
    for name in ("feed", "worker", "gateway"):
        unit = (DEPLOY / "systemd" / f"esblend-{name}.service").read_text()
        assert f"ExecStart=/opt/esblend/bin/esblend {name}\n" in unit


CHART = DEPLOY / "helm" / "esblend"


def test_the_charts_values_satisfy_its_schema_and_are_all_documented() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.validate(values, schema)
    assert set(values) <= set(schema["properties"])
    for wrong in ({"imge": {}}, {"elasticsearch": {"url": "elasticsearch:9200"}}, {"settings": {"MODEL": "minilm"}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**values, **wrong}, schema)


def test_the_charts_templates_use_each_value_and_no_other() -> None:
    """Helm renders the templates only where it is installed; this compares names."""
    templates = "\n".join(file.read_text() for file in (CHART / "templates").iterdir())
    used = set(re.findall(r"\.Values((?:\.\w+)+)", templates))

    def leaves(values: dict[str, Any], path: str = "") -> set[str]:
        return {
            leaf
            for name, value in values.items()
            for leaf in (
                leaves(value, f"{path}.{name}")
                if isinstance(value, dict) and value and name != "resources"
                else {f"{path}.{name}"}
            )
        }

    assert used == leaves(yaml.safe_load((CHART / "values.yaml").read_text())) | {".worker.autoscaling.enabled"}


def _rendered(values: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The chart's objects by Helm's library, after its strict lint. None where it is not installed: `make test-chart`."""
    try:
        import helm_python
    except ImportError:
        return None
    report = helm_python.lint(CHART, values, strict=True)
    assert not report["errors"]
    assert {message["severity"] for message in report["messages"]} <= {1}  # hints, such as a missing icon
    rendered = helm_python.Chart.load(CHART).render(values, name="r", namespace="search")
    return [manifest for text in rendered.values() for manifest in yaml.safe_load_all(text) if manifest]


def test_helm_renders_the_chart_where_it_is_installed() -> None:
    objects = _rendered({"worker": {"autoscaling": {"enabled": True}}})
    if objects is None:
        return
    kinds = sorted(manifest["kind"] for manifest in objects)
    assert kinds == sorted(["ConfigMap", "Service", "ScaledObject", *["Deployment"] * 3, *["PodDisruptionBudget"] * 2])


def _pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Process -> its container."""
    pods = [
        manifest["spec"]["template"]["spec"]["containers"][0]
        for manifest in objects
        if manifest["kind"] == "Deployment"
    ]
    return {pod["args"][0]: pod for pod in pods}


def test_the_chart_and_the_manifests_agree() -> None:
    manifests = _pods(list(yaml.safe_load_all((DEPLOY / "kubernetes" / "esblend.yaml").read_text())))
    objects = _rendered({})
    if objects is None:
        return
    rendered = _pods(objects)
    assert set(rendered) == set(manifests) == {"feed", "worker", "gateway"}
    for name, pod in rendered.items():
        for key in ("livenessProbe", "readinessProbe", "startupProbe", "resources", "ports"):
            assert pod.get(key) == manifests[name].get(key), (name, key)


def test_the_gateway_accepts_the_names_of_its_service_in_every_namespace() -> None:
    objects = _rendered({"gateway": {"allowedHosts": ["search.example.com"]}})
    if objects is None:
        return
    [allowed] = [
        manifest["value"] for manifest in _pods(objects)["gateway"]["env"] if manifest["name"].endswith("ALLOWED_HOSTS")
    ]
    service = "r-gateway.search"
    assert allowed.split(",") == [
        "search.example.com", "r-gateway", service, f"{service}.svc", f"{service}.svc.cluster.local",
    ]  # fmt: skip


def test_the_workflows_run_what_is_there() -> None:
    """Nobody has run them on GitHub. This checks that the files and commands that they name exist, and with actionlint, where it is
    installed, their syntax."""
    actionlint = shutil.which("actionlint")
    if actionlint:
        subprocess.run([actionlint], cwd=ROOT, check=True)
    workflows = {file.stem: yaml.safe_load(file.read_text()) for file in (ROOT / ".github" / "workflows").glob("*.yml")}
    assert set(workflows) == {"check", "release"}
    steps = [step for workflow in workflows.values() for job in workflow["jobs"].values() for step in job["steps"]]
    assert all("uses" in step or "run" in step for step in steps)
    assert {"run": ".ci/run"} in steps
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    version = next(step["run"] for step in steps if step.get("name") == "The tag is the version")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    command = ["bash", "-c", version.replace("python -c", f"{sys.executable} -c")]
    for tag, expected in ((f"v{project}", 0), ("v9.9.9", 1)):
        env = {**os.environ, "GITHUB_REF_NAME": tag}
        assert subprocess.run(command, cwd=ROOT, env=env, check=False).returncode == expected
