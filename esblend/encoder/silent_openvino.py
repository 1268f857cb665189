"""OpenVINO without its telemetry: OpenVINO and NNCF report each conversion to an analytics service unless this package is absent.

Every module imports OpenVINO and NNCF from here, so that no import of them comes before.
"""

import sys
from types import ModuleType
from typing import Any, cast

# None makes the import raise ImportError, after which both use their own stub. Without network access each report also
# occupies a forked process for three seconds.
cast(dict[str, ModuleType | None], sys.modules)["openvino_telemetry"] = None

import openvino  # noqa: E402

__all__ = ["import_nncf", "openvino"]


def import_nncf() -> Any:
    """NNCF, which only an export needs; it takes seconds to import."""
    import nncf

    return nncf
