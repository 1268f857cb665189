"""Checks that an optional part of esblend is installed, before it is imported."""

from importlib.util import find_spec

from esblend.errors import ModelError

_PRODUCTS = {
    "torch": ("PyTorch", "torch"),
    "transformers": ("transformers", "torch"),
    "openvino": ("OpenVINO", "openvino"),
    "nncf": ("NNCF", "worker"),
}
"""Module -> (the product's name, the extra that contains it)."""


def require(*modules: str, purpose: str) -> None:
    """Raise ModelError with the command that installs the first missing module."""
    for module in modules:
        if find_spec(module) is None:
            product, extra = _PRODUCTS[module]
            raise ModelError(f"{purpose} needs {product}, which is not installed: pip install 'esblend[{extra}]'")
