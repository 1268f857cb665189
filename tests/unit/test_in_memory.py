"""Where the files of test servers are kept."""

import os
from pathlib import Path

import pytest

from tests import in_memory


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "memory"
    folder.mkdir()
    monkeypatch.setattr(in_memory, "SHARED_MEMORY", folder)
    return folder


def test_a_servers_folder_is_in_memory_until_the_stack_is_deleted(
    memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_memory, "has_room", lambda: True)
    killed = memory / f"esblend-tests-{2**22 + 1}-x"  # above the highest process id of Linux
    killed.mkdir()
    folder = tmp_path / "stack" / "elasticsearch"
    in_memory.put_into_memory(folder)
    (folder / "data").mkdir(parents=True)
    (target,) = memory.iterdir()
    assert target.name.startswith(f"esblend-tests-{os.getpid()}-")
    assert (target / "data").is_dir()
    in_memory.remove_from_memory(folder)
    assert not os.path.lexists(folder)
    assert not list(memory.iterdir())


def test_without_room_in_memory_the_folder_is_on_the_disk(
    memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_memory, "_NEEDED_BYTES", 1 << 60)
    in_memory.put_into_memory(tmp_path / "elasticsearch")
    assert not os.path.lexists(tmp_path / "elasticsearch")
    in_memory.remove_from_memory(tmp_path / "elasticsearch")
