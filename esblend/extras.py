"""Checks that an optional part of esblend is installed, before it is imported."""

from importlib.util import find_spec

from esblend.errors import EsblendError, ModelError

_PRODUCTS = {
    "torch": ("PyTorch", "torch"),
    "transformers": ("transformers", "torch"),
    "openvino": ("OpenVINO", "openvino"),
    "nncf": ("NNCF", "worker"),
    "ir_measures": ("ir-measures", "lab"),
    "jinja2": ("Jinja", "lab"),
    "scipy": ("SciPy", "lab"),
    "docx": ("python-docx", "files"),
    "pyarrow": ("PyArrow", "files"),
    "pypdf": ("pypdf", "files"),
    "selectolax": ("selectolax", "files"),
    "zstandard": ("zstandard", "files"),
    "accelerate": ("Accelerate", "train"),
    "datasets": ("Datasets", "train"),
    "sentence_transformers": ("sentence-transformers", "train"),
}
"""Module -> (the product's name, the extra that contains it)."""


def require(*modules: str, purpose: str, error: type[EsblendError] = ModelError) -> None:
    """Raise `error` with the command that installs the first missing module."""
    for module in modules:
        if find_spec(module) is None:
            product, extra = _PRODUCTS[module]
            raise error(f"{purpose} needs {product}, which is not installed: pip install 'esblend[{extra}]'")
