"""GPUs are divided among workers; passwords in addresses are never shown."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from esblend.local.gpus import worker_device
from esblend.settings import Settings, mask_passwords


def test_workers_take_the_gpus_in_turn(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    given = [worker_device(number, {}, tmp_path) for number in range(4)]
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in given] == ["0", "1", "2", "0"]
    chosen = {"CUDA_VISIBLE_DEVICES": "3, 5"}
    assert [worker_device(number, chosen)["CUDA_VISIBLE_DEVICES"] for number in range(3)] == ["3", "5", "3"]


def test_one_gpu_or_none_is_left_as_it_is(tmp_path: Path) -> None:
    assert worker_device(1, {}, tmp_path) == {}
    assert worker_device(1, {"CUDA_VISIBLE_DEVICES": "0"}, tmp_path) == {}
    assert worker_device(1, {"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == {}


@pytest.mark.parametrize(
    "address",
    [
        "redis://:SECRET@host:6379/0", "redis://user:SECRET@host/0", "rediss://u:SECRET/with@signs@host:1/0",
        "redis://host/0?password=SECRET&db=1", "sentinel://u:SECRET@a:1;sentinel://u:SECRET@b:2",
    ],
)  # fmt: skip
def test_passwords_are_masked(address: str) -> None:
    masked = mask_passwords(address)
    assert "SECRET" not in masked
    assert "signs" not in masked
    assert masked != address
    assert "SECRET" not in repr(Settings(redis_url=address))


def test_an_error_in_the_settings_shows_no_values() -> None:
    with pytest.raises(ValidationError) as error:
        Settings(redis_url="redis://:SECRET@host", es_url="http://u:p@host")
    assert "SECRET" not in str(error.value)


def test_an_address_without_a_password_is_not_changed() -> None:
    assert mask_passwords("redis://localhost:6379/0") == "redis://localhost:6379/0"
