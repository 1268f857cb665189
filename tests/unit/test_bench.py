"""The list of measurements that `python -m bench --help` prints."""

import ast
import subprocess
import sys

from bench.__main__ import MEASUREMENTS, function_of
from bench.relevance import with_differences
from tests.conftest import ROOT


def test_help_lists_the_measurements_and_starts_none() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "bench", "--help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    for name, line in MEASUREMENTS.items():
        assert f"  {name} " in shown.stdout
        assert line in shown.stdout


def test_an_unknown_name_starts_nothing() -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "bench", "lag", "lags"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert refused.returncode == 2
    assert "no measurement is called 'lags'" in refused.stderr


def test_each_measurement_has_its_function() -> None:
    for name in MEASUREMENTS:
        module, function = function_of(name)
        tree = ast.parse((ROOT / "bench" / f"{module}.py").read_text("utf-8"))
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name


def test_an_anisotropic_encoder_is_compared_with_minilm_on_the_same_collection() -> None:
    rows = [
        {"collection": "cranfield", "encoder": "MiniLM", "default": "0.5592 (66)"},
        {"collection": "cranfield", "encoder": "anisotropic, strong", "default": "0.5601 (66)"},
        {"collection": "cranfield", "encoder": "all-mpnet-base-v2", "default": "0.5700 (66)"},
        {"collection": "scifact", "encoder": "anisotropic, strong", "default": "0.7402 (90)"},
    ]
    assert [row["default - MiniLM"] for row in with_differences(rows)] == ["", "+0.0009", "", ""]
