"""Texts that are present on every machine, to calibrate a quantised model with and to compare backends on."""

_MIN_CHARACTERS = 200
_TEXTS = 300
_COMPARED = 25


def calibration_texts() -> list[str]:
    """About 300 docstrings of Python's standard library, of at least 200 characters, evenly drawn."""
    texts = _docstrings()
    return texts[:: max(1, len(texts) // _TEXTS)]


def comparison_texts() -> list[str]:
    """About 25 docstrings of the same kind that `calibration_texts` does not have."""
    calibrated = set(calibration_texts())
    texts = [text for text in _docstrings() if text not in calibrated]
    return texts[:: max(1, len(texts) // _COMPARED)]


def _docstrings() -> list[str]:
    from esblend.demo.corpus import read_corpus

    return sorted({entry.doc for entry in read_corpus() if len(entry.doc) >= _MIN_CHARACTERS})
