"""Texts that are present on every machine, to calibrate a quantised model with and to compare backends on."""

_MIN_CHARACTERS = 200
_TEXTS = 300


def calibration_texts() -> list[str]:
    """About 300 docstrings of Python's standard library, of at least 200 characters, evenly drawn."""
    from esblend.demo.corpus import read_corpus

    texts = sorted({entry.doc for entry in read_corpus() if len(entry.doc) >= _MIN_CHARACTERS})
    return texts[:: max(1, len(texts) // _TEXTS)]
