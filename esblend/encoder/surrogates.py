"""Lone surrogates: code points that are legal in JSON but not in UTF-8, which tokenizers need."""


def replace_surrogates(text: str) -> str:
    """`text` with each lone surrogate replaced by U+FFFD, which keeps all offsets."""
    if text.isascii():
        return text
    return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)
