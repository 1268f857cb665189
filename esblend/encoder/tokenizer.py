"""The model's own Rust tokenizer: word pieces for the model, character spans for the splitter."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from esblend.encoder.extras import require
from esblend.encoder.folder import ModelFolder
from esblend.errors import ModelError

_BLOCK_CHARACTERS = 100_000
_SPACE = re.compile(r"\s")


class TextTokenizer:
    """Two views of one tokenizer: cut to the model's longest input, and uncut with offsets."""

    def __init__(self, folder: ModelFolder) -> None:
        self._cut = _load(folder)
        self._cut.no_padding()
        self._cut.enable_truncation(folder.max_tokens)
        self._whole = _load(folder)
        self._whole.no_padding()
        self._whole.no_truncation()
        self._lower_case = folder.lower_case
        self.special_tokens = self._whole.num_special_tokens_to_add(is_pair=False)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Word-piece ids of each text with its special tokens, cut to the model's longest input."""
        texts = [_clean(text) for text in texts]
        if self._lower_case:
            texts = [text.lower() for text in texts]
        return [encoding.ids for encoding in self._cut.encode_batch_fast(texts)]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """(start, end) of each word piece of `text`, in characters (code points), without special tokens."""
        found: list[tuple[int, int]] = []
        for start, end in _blocks(text):
            encoding = self._whole.encode(_clean(text[start:end]), add_special_tokens=False)
            found += encoding.offsets if start == 0 else [(start + a, start + b) for a, b in encoding.offsets]
        return found

    def count(self, text: str) -> int:
        """Word pieces of `text` without special tokens, uncut."""
        return len(self._whole.encode(_clean(text), add_special_tokens=False).ids)


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of parts of a long text, cut before white space, where no word piece is cut. They bound what one call
    of the tokenizer takes in time and memory; a word longer than a block stays in one."""
    start = 0
    while len(text) - start > _BLOCK_CHARACTERS:
        space = _SPACE.search(text, start + _BLOCK_CHARACTERS)
        if space is None:
            break
        yield start, space.start()
        start = space.start()
    yield start, len(text)


def _clean(text: str) -> str:
    """A lone surrogate (legal in JSON) cannot be UTF-8: it becomes U+FFFD, one character for one, so offsets hold."""
    if text.isascii():
        return text
    return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)


def _load(folder: ModelFolder) -> Tokenizer:
    file: Path = folder.transformer / "tokenizer.json"
    try:
        if file.is_file():
            return Tokenizer.from_file(str(file))
        require("transformers", purpose=f"model [{folder.name}] without tokenizer.json")
        from transformers import AutoTokenizer

        slow_or_fast = AutoTokenizer.from_pretrained(str(folder.transformer), trust_remote_code=False, use_fast=True)
        tokenizer: Tokenizer = Tokenizer.from_str(slow_or_fast.backend_tokenizer.to_str())
    except ModelError:
        raise
    except Exception as error:  # the Rust library raises bare Exception
        raise ModelError(f"model [{folder.name}] cannot be loaded: its tokenizer is unusable ({error})") from error
    return tokenizer
