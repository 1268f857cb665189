"""Models to measure with: the packaged MiniLM, and the default model's shape with seeded random weights."""

import json
import shutil
from pathlib import Path

from esblend.cache import cache_dir
from esblend.encoder.folder import find_model


def distilbert_shape(place: Path | None = None) -> Path:
    """A sentence-transformers folder of multi-qa-distilbert-cos-v1's shape: 6 layers, 768 wide, 12 heads, 30,522 word pieces.

    Its weights are random with a fixed seed, its tokenizer is MiniLM's, which has the same vocabulary. Made once.
    """
    place = place or cache_dir() / "bench" / "distilbert-shape"
    if (place / "modules.json").is_file():
        return place
    import torch
    from transformers import DistilBertConfig, DistilBertModel

    minilm = find_model("minilm").path
    place.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(20)
    config = DistilBertConfig(
        vocab_size=30_522, dim=768, n_layers=6, n_heads=12, hidden_dim=3072, max_position_embeddings=512
    )
    DistilBertModel(config).save_pretrained(place)
    for name in ("tokenizer.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(minilm / name, place / name)
    tokenizer = json.loads((minilm / "tokenizer_config.json").read_text()) | {
        "model_max_length": 512,
        "tokenizer_class": "DistilBertTokenizer",
    }
    _write(place / "tokenizer_config.json", tokenizer)
    _write(place / "sentence_bert_config.json", {"max_seq_length": 512, "do_lower_case": False})
    pooling = {"word_embedding_dimension": 768, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    (place / "1_Pooling").mkdir(exist_ok=True)
    _write(place / "1_Pooling" / "config.json", pooling)
    kinds = ("Transformer", "Pooling", "Normalize")
    folders = ("", "1_Pooling", "2_Normalize")
    (place / "2_Normalize").mkdir(exist_ok=True)
    modules = [
        {"idx": n, "name": str(n), "path": folder, "type": f"sentence_transformers.models.{kind}"}
        for n, (kind, folder) in enumerate(zip(kinds, folders, strict=True))
    ]
    _write(place / "modules.json", modules)
    return place


def _write(file: Path, content: object) -> None:
    file.write_text(json.dumps(content, indent=2), "utf-8")
