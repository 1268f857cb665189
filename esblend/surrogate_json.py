"""JSON by orjson, but for half surrogate pairs: Elasticsearch keeps them in a `_source`, and orjson refuses them."""

import json
from typing import Any

import orjson


def loads(data: bytes) -> Any:
    """Raises ValueError when it is no JSON."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data)


def dumps(content: Any, *, pretty: bool = False) -> bytes:
    """NumPy arrays are written as JSON arrays."""
    options = orjson.OPT_SERIALIZE_NUMPY | (orjson.OPT_INDENT_2 if pretty else 0)
    try:
        return orjson.dumps(content, option=options)
    except TypeError:
        return json.dumps(content, default=_array, indent=2 if pretty else None).encode()


def _array(value: Any) -> Any:
    if hasattr(value, "tolist"):  # NumPy is not imported for this
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no JSON value")
