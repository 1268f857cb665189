"""Divides the GPUs of the machine among several worker processes."""

from collections.abc import Mapping
from pathlib import Path

_VISIBLE = "CUDA_VISIBLE_DEVICES"


def worker_device(number: int, environment: Mapping[str, str], devices_folder: Path = Path("/dev")) -> dict[str, str]:
    """The variable that gives worker `number` one GPU, in turn; empty on a machine with fewer than two GPUs."""
    if _VISIBLE in environment:
        devices = [device.strip() for device in environment[_VISIBLE].split(",") if device.strip()]
    else:
        names = [path.name.removeprefix("nvidia") for path in devices_folder.glob("nvidia[0-9]*")]
        devices = sorted((name for name in names if name.isdecimal()), key=int)
        devices = [str(position) for position in range(len(devices))]
    return {_VISIBLE: devices[number % len(devices)]} if len(devices) > 1 else {}
