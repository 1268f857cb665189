"""Small models of many architectures with seeded random weights, saved by transformers and sentence-transformers themselves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from esblend.encoder.calibration import calibration_texts
from tests.later import modules, sentence_transformers, torch, transformers

VOCABULARY = 1000
HIDDEN = 32
_SPECIAL = ["<pad>", "<unk>", "<s>", "</s>", "<mask>"]
PAD, UNKNOWN, BEGIN, END = range(4)


@cache
def tokenizer_json(kind: str) -> str:
    """A tokenizer trained on docstrings: `wordpiece`, `bytes` (byte-level BPE, ending each text with </s>) or `unigram`."""
    if kind == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer: Any = trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=_SPECIAL, show_progress=False)
    elif kind == "bytes":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=_SPECIAL, initial_alphabet=alphabet, show_progress=False
        )
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=VOCABULARY, special_tokens=_SPECIAL, unk_token="<unk>", show_progress=False
        )
    tokenizer.train_from_iterator(_corpus(), trainer)
    single = "$A </s>" if kind == "bytes" else "<s> $A </s>"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[("<s>", BEGIN), ("</s>", END)]
    )
    text: str = tokenizer.to_str()
    return text


@cache
def _corpus() -> list[str]:
    return calibration_texts()[:100]


def tokenizer_of(kind: str, max_tokens: int) -> Any:
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tokenizer_json(kind)), model_max_length=max_tokens,
        pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>", mask_token="<mask>",
    )  # fmt: skip


@dataclass(frozen=True)
class Architecture:
    """How to make a small model: its class in transformers, the settings beside the common ones, its kind of tokenizer."""

    model: str
    config: Callable[[], Any]
    tokenizer: str
    pooling: str = "mean"


def _named(name: str, **settings: Any) -> Callable[[], Any]:
    return lambda: getattr(transformers, name)(
        **{"vocab_size": VOCABULARY, "pad_token_id": PAD, "bos_token_id": BEGIN, "eos_token_id": END} | settings
    )


_BERT: dict[str, Any] = {
    "hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "initializer_range": 0.2,
}  # fmt: skip
_T5: dict[str, Any] = {
    "d_model": HIDDEN, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "initializer_factor": 1.0,
}  # fmt: skip

ARCHITECTURES = {
    "BERT": Architecture("BertModel", _named("BertConfig", **_BERT), "wordpiece"),
    "RoBERTa": Architecture("RobertaModel", _named("RobertaConfig", **_BERT, max_position_embeddings=513), "bytes"),
    "XLM-R": Architecture("XLMRobertaModel", _named("XLMRobertaConfig", **_BERT, max_position_embeddings=513), "unigram"),
    "MPNet": Architecture("MPNetModel", _named("MPNetConfig", **_BERT, max_position_embeddings=514), "wordpiece"),
    "DistilBERT": Architecture(
        "DistilBertModel",
        _named("DistilBertConfig", dim=HIDDEN, n_layers=2, n_heads=2, hidden_dim=64, initializer_range=0.2),
        "wordpiece",
    ),
    "ELECTRA": Architecture("ElectraModel", _named("ElectraConfig", **_BERT, embedding_size=16), "wordpiece"),
    "ALBERT": Architecture("AlbertModel", _named("AlbertConfig", **_BERT, embedding_size=16), "unigram"),
    "DeBERTa-v2": Architecture(
        "DebertaV2Model",
        _named("DebertaV2Config", **_BERT, relative_attention=True, position_buckets=32, pos_att_type=["p2c", "c2p"],
               norm_rel_ebd="layer_norm", share_att_key=True, position_biased_input=False),
        "unigram",
    ),
    "NomicBERT": Architecture("NomicBertModel", _named("NomicBertConfig", **_BERT), "wordpiece"),
    "ModernBERT": Architecture(
        "ModernBertModel",
        _named("ModernBertConfig", **_BERT, local_attention=16, global_attn_every_n_layers=2, cls_token_id=BEGIN, sep_token_id=END),
        "bytes",
        "cls",
    ),
    "Qwen2": Architecture("Qwen2Model", _named("Qwen2Config", **_BERT, num_key_value_heads=1), "bytes", "lasttoken"),
    "Gemma3": Architecture(
        "Gemma3TextModel",
        _named("Gemma3TextConfig", **_BERT, num_key_value_heads=1, head_dim=16, sliding_window=16,
               use_bidirectional_attention=True, layer_types=["sliding_attention", "full_attention"]),
        "bytes",
    ),
    "ConvBERT": Architecture("ConvBertModel", _named("ConvBertConfig", **_BERT, embedding_size=HIDDEN), "wordpiece"),
    "T5": Architecture("T5EncoderModel", _named("T5Config", **_T5), "unigram"),
    "ByT5": Architecture(
        "T5EncoderModel", _named("T5Config", **_T5 | {"vocab_size": 384}, tokenizer_class="ByT5Tokenizer"), "byt5"
    ),
}  # fmt: skip


def write_transformer(folder: Path, architecture: Architecture, *, dtype: str = "float32") -> Path:
    """A plain transformers folder."""
    torch.manual_seed(16)
    model = getattr(transformers, architecture.model)(architecture.config())
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    if architecture.tokenizer == "byt5":
        transformers.ByT5Tokenizer(model_max_length=512).save_pretrained(folder)
    else:
        tokenizer_of(architecture.tokenizer, 512).save_pretrained(folder)
    return folder


def write_model(
    folder: Path, name: str, *, additional: Sequence[Any] = (), pooling: Any = None, **options: Any
) -> Path:
    """A sentence-transformers folder: transformer, pooling and the modules of `additional`."""
    architecture = ARCHITECTURES[name]
    plain = write_transformer(folder / "plain", architecture, **options)
    dtype = getattr(torch, options.get("dtype", "float32"))
    transformer = modules.Transformer(str(plain), max_seq_length=512, model_kwargs={"dtype": dtype})
    chain = [transformer, modules.Pooling(HIDDEN, pooling or architecture.pooling), *additional]
    sentence_transformers.SentenceTransformer(modules=chain, device="cpu").save(str(folder / "model"))
    return folder / "model"
