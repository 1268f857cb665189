"""`esblend config show`, and wrong settings."""

import json
from pathlib import Path

from tests.conftest import run_esblend


def test_each_value_is_shown_with_its_source_and_secrets_are_not(tmp_path: Path) -> None:
    (tmp_path / "esblend.yaml").write_text("model: minilm\n")
    env = {"ESBLEND_ES_API_KEY": "hidden-key", "ESBLEND_REDIS_URL": "redis://:hidden-word@redis:6379/0"}
    done = run_esblend("config", "show", "--json", env=env, cwd=tmp_path)
    shown = json.loads(done.stdout)
    assert shown["model"] == {"value": "minilm", "source": "YAML"}
    assert shown["es_api_key"] == {"value": "********", "source": "environment"}
    assert shown["gateway_port"] == {"value": 9280, "source": "default"}
    table = run_esblend("config", "show", env=env, cwd=tmp_path).stdout
    assert "hidden" not in done.stdout + table


def test_a_name_that_is_none_ends_every_command(tmp_path: Path) -> None:
    done = run_esblend("worker", env={"ESBLEND_ES_URI": "http://x"}, cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean es_url?" in done.stderr
