"""Checks that esblend installed the packages `mappings`, `indexer`, `workers` and `query`: other distributions may use these names
too (docs/decisions/007-top-level-packages.md)."""

import base64
import hashlib
from importlib.metadata import distributions, packages_distributions
from importlib.util import find_spec
from pathlib import Path

from esblend.errors import EsblendError

PACKAGES = ("mappings", "indexer", "workers", "query")


class CollidingPackage(EsblendError):
    """Another distribution has replaced, or hides, one of esblend's packages."""

    type = "colliding_package_exception"


def check_own_packages() -> None:
    """Raise CollidingPackage naming the first package that is not esblend's, the distribution that it belongs to, and a remedy."""
    home = Path(__file__).resolve().parent.parent
    for name in PACKAGES:
        spec = find_spec(name)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin != home / name / "__init__.py" or _recorded_digest(origin) not in (None, _digest(origin)):
            raise CollidingPackage(_message(name, origin))


def _recorded_digest(file: Path) -> str | None:
    """The SHA-256 of the file as esblend's wheel installed it; None for an editable installation."""
    own = f"{file.parent.name}/{file.name}"
    for installed in distributions(name="esblend"):
        for entry in installed.files or []:
            if str(entry) == own and Path(str(entry.locate())).resolve() == file:
                return entry.hash.value if entry.hash and entry.hash.mode == "sha256" else None
    return None


def _digest(file: Path) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(file.read_bytes()).digest()).rstrip(b"=").decode()


def _message(name: str, origin: Path | None) -> str:
    others = sorted(set(packages_distributions().get(name, [])) - {"esblend"})
    owner = f"belongs to the distribution [{', '.join(others)}]" if others else "is not part of any other distribution"
    where = f"from {origin}" if origin else "without a file"
    return (
        f"The Python package [{name}], imported {where}, is not esblend's; it {owner}. "
        "Install esblend in a virtual environment without it: python -m venv esblend-env"
    )
