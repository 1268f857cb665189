"""The folder for downloads and exported models, shared by all checkouts and processes."""

import os
from pathlib import Path

import platformdirs


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def cache_dir() -> Path:
    """`ESBLEND_CACHE_DIR`, else the user's cache folder. For root it is the machine's, because the user that runs
    Elasticsearch cannot read root's own."""
    override = os.environ.get("ESBLEND_CACHE_DIR")
    if override:
        return Path(override).expanduser().resolve()
    return platformdirs.site_cache_path("esblend") if is_root() else platformdirs.user_cache_path("esblend")
