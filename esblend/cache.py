"""Where downloads and exported models are kept, shared by all checkouts and processes."""

import os
from pathlib import Path

import platformdirs


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def cache_dir() -> Path:
    """`ESBLEND_CACHE_DIR`, else the user's cache. Root's own would be closed to the user that runs Elasticsearch, so as
    root it is the machine's."""
    override = os.environ.get("ESBLEND_CACHE_DIR")
    if override:
        return Path(override).expanduser().resolve()
    return platformdirs.site_cache_path("esblend") if is_root() else platformdirs.user_cache_path("esblend")
