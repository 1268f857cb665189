"""The model's Rust tokenizer: word pieces for the model, and character spans for the splitter of passages."""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from tokenizers import Encoding, Tokenizer

from esblend.encoder.model import Tokens
from esblend.encoder.model_folder import ModelFolder
from esblend.encoder.read_ahead import ReadAhead
from esblend.encoder.remembered_ids import RememberedIds
from esblend.encoder.surrogates import replace_surrogates
from esblend.errors import ModelError
from esblend.extras import require

_BLOCK_CHARACTERS = 100_000
_SPACE = re.compile(r"\s")
_CHARACTERS_PER_PIECE = 16
"""More than almost every text has: this much of a long text fills the model's longest input."""


class ModelTokenizer(Tokens, Protocol):
    """The part of a tokenizer that a local model uses."""

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Word-piece ids of each text with its special tokens, cut to the model's longest input."""
        ...


def load_tokenizer(folder: ModelFolder) -> ModelTokenizer:
    """The Rust tokenizer in the folder, one that transformers can convert, or else the model's Python tokenizer.

    Raises ModelError when the folder has no usable tokenizer.
    """
    file: Path = folder.input_path / "tokenizer.json"
    try:
        if file.is_file():
            return TextTokenizer(folder, file.read_text("utf-8"))
        require("transformers", purpose=f"model [{folder.name}] without tokenizer.json")
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(str(folder.input_path), trust_remote_code=False)
        if tokenizer.is_fast:
            return TextTokenizer(folder, tokenizer.backend_tokenizer.to_str())
    except ModelError:
        raise
    except Exception as error:  # the Rust library raises bare Exception
        raise ModelError(f"model [{folder.name}] cannot be loaded: its tokenizer is unusable ({error})") from error
    from esblend.encoder.python_tokenizer import PythonTokenizer

    return PythonTokenizer(folder, tokenizer)


class TextTokenizer:
    """Two views of one tokenizer: cut to the model's longest input, and uncut with offsets."""

    def __init__(self, folder: ModelFolder, described: str) -> None:
        """`described`: the content of a tokenizer.json."""
        self._cut = Tokenizer.from_str(described)
        self._cut.no_padding()
        self._cut.enable_truncation(folder.max_tokens)
        self._max_tokens = folder.max_tokens
        self._whole = Tokenizer.from_str(described)
        self._whole.no_padding()
        self._whole.no_truncation()
        self._lower_case = folder.lower_case
        self._remembered = RememberedIds()
        # A StaticEmbedding reads the word pieces of the text alone.
        self._has_special_tokens = folder.input_kind == "Transformer"
        self.special_tokens = self._whole.num_special_tokens_to_add(is_pair=False) if self._has_special_tokens else 0

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """See `ModelTokenizer`."""
        known = [self._remembered.take(text) for text in texts]
        computed = iter(self._computed_ids([text for text, ids in zip(texts, known, strict=True) if ids is None]))
        return [next(computed) if ids is None else ids for ids in known]

    def _computed_ids(self, texts: Sequence[str]) -> list[list[int]]:
        beginnings = [_beginning(text, self._max_tokens * _CHARACTERS_PER_PIECE) for text in texts]
        encodings = self._encode_cut(beginnings)
        for position, (text, beginning) in enumerate(zip(texts, beginnings, strict=True)):
            # Only the last pieces of a beginning may differ from those of the text, and they must not be among the ids.
            if len(beginning) < len(text) and not encodings[position].overflowing:
                [encodings[position]] = self._encode_cut([text])
        return [encoding.ids for encoding in encodings]

    def _encode_cut(self, texts: Sequence[str]) -> list[Encoding]:
        return self._cut.encode_batch_fast(
            [self._normal(text) for text in texts], add_special_tokens=self._has_special_tokens
        )

    def spans(self, text: str) -> list[tuple[int, int]]:
        """(start, end) of each word piece of `text`, in characters (code points), without special tokens."""
        spans: list[tuple[int, int]] = []
        for start, end in _blocks(text):
            block = replace_surrogates(text[start:end])
            encoding = self._whole.encode(self._with_characters_of(block), add_special_tokens=False)
            spans += encoding.offsets if start == 0 else [(start + a, start + b) for a, b in encoding.offsets]
        return spans

    def ahead(self, texts: Sequence[str]) -> Tokens:
        """This tokenizer, which computes the spans of `texts` in batches. They are asked for in this order."""
        short = [text for text in texts if len(text) <= _BLOCK_CHARACTERS]
        return ReadAhead(self, short, self._spans_of_batch, self._count_remembered)

    def _spans_of_batch(self, texts: list[str]) -> list[Callable[[], list[tuple[int, int]]]]:
        prepared = [self._with_characters_of(replace_surrogates(text)) for text in texts]
        encodings = self._whole.encode_batch(prepared, add_special_tokens=False)
        for text, read, encoding in zip(texts, prepared, encodings, strict=True):
            if read == self._normal(text):
                self._remember(text, encoding)
        return [partial(getattr, encoding, "offsets") for encoding in encodings]

    def _count_remembered(self, text: str) -> int:
        """As `count`, of a text that may become a passage."""
        encoding = self._whole.encode(self._normal(text), add_special_tokens=False)
        self._remember(text, encoding)
        return len(encoding)

    def _remember(self, text: str, encoding: Encoding) -> None:
        """To add the special tokens takes a sixth of the time of tokenising a text again."""
        if len(encoding) + self.special_tokens <= self._max_tokens:
            whole = self._cut.post_process(encoding, add_special_tokens=self._has_special_tokens)
            self._remembered.add(text, whole.ids)

    def _with_characters_of(self, text: str) -> str:
        """The text in the model's letter case. A few letters become two when they are lower-cased; then the offsets of the original
        text are close enough."""
        lower = self._normal(text)
        return lower if len(lower) == len(text) else text

    def count(self, text: str) -> int:
        """Word pieces of `text` without special tokens, uncut."""
        return len(self._whole.encode(self._normal(text), add_special_tokens=False))

    def _normal(self, text: str) -> str:
        return replace_surrogates(text).lower() if self._lower_case else replace_surrogates(text)


def _beginning(text: str, characters: int) -> str:
    """At least so many characters of a text, cut before white space, where most tokenizers cut as well."""
    space = _SPACE.search(text, characters) if len(text) > characters else None
    return text if space is None else text[: space.start()]


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of parts of a long text, cut before white space, where most tokenizers cut as well. They limit the time and
    memory of one call of the tokenizer; a word longer than a block stays whole."""
    start = 0
    while len(text) - start > _BLOCK_CHARACTERS:
        space = _SPACE.search(text, start + _BLOCK_CHARACTERS)
        if space is None:
            break
        yield start, space.start()
        start = space.start()
    yield start, len(text)
