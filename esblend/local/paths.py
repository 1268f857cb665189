"""Folders of the one-machine stack."""

import hashlib
import os
import pwd
from pathlib import Path

import platformdirs

from esblend.cache import is_root
from esblend.errors import LocalStackError


def default_data_dir() -> Path:
    override = os.environ.get("ESBLEND_DATA_DIR")
    if override:
        return Path(override).expanduser().resolve()
    return platformdirs.user_data_path("esblend") / "default"


def elasticsearch_dir(data_dir: Path) -> Path:
    """Configuration, data and logs of a stack's Elasticsearch nodes.

    Elasticsearch refuses to run as root, and the user that runs it instead often cannot enter `data_dir` (for example below
    root's home). So for root its files are in /var/lib/esblend, one folder for each data dir.
    """
    if not is_root():
        return data_dir / "elasticsearch"
    name = hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:16]
    return Path("/var/lib/esblend") / name


def elasticsearch_user() -> tuple[int, int] | None:
    """(uid, gid) for Elasticsearch; None for the current user."""
    if not is_root():
        return None
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError as error:
        raise LocalStackError(
            "Elasticsearch refuses to run as root, and this machine has no user [nobody]: run esblend as an ordinary user"
        ) from error
    return nobody.pw_uid, nobody.pw_gid
