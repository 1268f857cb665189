"""esblend works with either major version of the Elasticsearch client, whatever the server's version."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from filelock import FileLock

from tests.conftest import ROOT, Stack
from tests.real.gateways import own_processes

_OTHER = {"8": "elasticsearch>=9,<10", "9": "elasticsearch>=8.19,<9"}


@pytest.fixture(scope="session")
def other_client(shared_folder: Path) -> Path:
    """A folder with the client of the major version that is not installed here, and its transport."""
    target = shared_folder / "other-client"
    with FileLock(target.with_suffix(".lock")):
        if not target.exists():
            wanted = _OTHER[version("elasticsearch").split(".")[0]]
            command = [sys.executable, "-m", "pip", "install", "-q", "--target", str(target), wanted]
            subprocess.run(command, check=True, timeout=300)
    return target


def test_the_other_major_version_of_the_client(
    fault_stack: Stack, index_name: str, other_client: Path, tmp_path: Path
) -> None:
    check_other_client(fault_stack, index_name, other_client, tmp_path)


def check_other_client(stack: Stack, index: str, other_client: Path, folder: Path) -> None:
    """Attach, embed, search and verify an index with processes that use the other client."""
    path = f"{other_client}:{ROOT}"
    code = "import elasticsearch; print(elasticsearch.__versionstr__)"
    shown = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert shown.stdout.split(".")[0] != version("elasticsearch").split(".")[0]
    stack.es.indices.create(index=index, settings={"number_of_replicas": 0})
    stack.es.index(index=index, id="1", document={"body": "whales"}, refresh=True)
    with own_processes(stack, folder, PYTHONPATH=path) as gateway:
        headers = {"accept": "application/json", "content-type": "application/json"}
        endpoint = f"/_esblend/indices/{index}"
        gateway.perform_request("PUT", endpoint, headers=headers, body={"source_fields": ["body"]})
        stack.wait(index)
        stack.es.index(index=index, id="2", document={"body": "bread"}, refresh=True)
        stack.wait(index)
        response = gateway.search(index=index, query={"hybrid": {"query": "animals of the sea", "alpha": 1}})
        assert [hit["_id"] for hit in response["hits"]["hits"]] == ["1", "2"]
        checked = subprocess.run(
            [sys.executable, "-m", "esblend", "verify", index, "--json", "--data-dir", str(stack.data_dir)],
            env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert checked.returncode == 0, checked.stdout + checked.stderr
    stack.es.indices.delete(index=index)
