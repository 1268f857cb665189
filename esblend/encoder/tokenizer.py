"""The model's own Rust tokenizer: word pieces for the model, character spans for the splitter."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from esblend.encoder.folder import ModelFolder
from esblend.errors import ModelError


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
        encoding = self._whole.encode(_clean(text), add_special_tokens=False)
        return list(encoding.offsets)

    def count(self, text: str) -> int:
        """Word pieces of `text` without special tokens, uncut."""
        return len(self._whole.encode(_clean(text), add_special_tokens=False).ids)


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
        from transformers import AutoTokenizer

        slow_or_fast = AutoTokenizer.from_pretrained(str(folder.transformer), trust_remote_code=False, use_fast=True)
        tokenizer: Tokenizer = Tokenizer.from_str(slow_or_fast.backend_tokenizer.to_str())
    except Exception as error:  # the Rust library raises bare Exception
        raise ModelError(f"model [{folder.name}] cannot be loaded: its tokenizer is unusable ({error})") from error
    return tokenizer
