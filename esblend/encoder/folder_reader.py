"""Reads a sentence-transformers model folder from its JSON files, without loading weights or running its code."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from esblend.encoder.model_folder import InputKind, Layer, ModelFolder, read_json
from esblend.encoder.module_list import ModuleFolder, is_routed, module_list
from esblend.encoder.weight_files import require_safetensors
from esblend.errors import ModelError

POOLING_MODES = ("cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
LAYER_KINDS = ("Dense", "LayerNorm", "Normalize")
_OLD_POOLING_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_COUNT_POSITIONS_FROM_PADDING = {
    "camembert", "data2vec-text", "esm", "ibert", "longformer", "luke", "mpnet", "roberta", "roberta-prelayernorm",
    "xlm-roberta", "xlm-roberta-xl", "xmod",
}  # fmt: skip
_MAX_TOKENS_IF_UNSAID = 512
_MAX_TOKENS_OF_STATIC = 65_536
"""sentence-transformers reads texts of any length with a StaticEmbedding; this bounds the memory."""


def read_folder(path: Path, name: str) -> ModelFolder:
    """The description of the model in `path`. Raises ModelError for anything that cannot be run here."""
    try:
        return _read(path, name)
    except (AttributeError, KeyError, SyntaxError, TypeError, ValueError) as error:
        raise ModelError(
            f"model [{name}] cannot be loaded: one of its JSON files has another form than sentence-transformers writes "
            f"({type(error).__name__}: {error})"
        ) from error


def _read(path: Path, name: str) -> ModelFolder:
    documents = _read_route(path, name, module_list(path, name, "document"))
    if not is_routed(path, name):
        return documents
    queries = _read_route(path, name, module_list(path, name, "query"))
    return replace(documents, route="document", queries=replace(queries, route="query"))


def _read_route(path: Path, name: str, modules: Sequence[ModuleFolder]) -> ModelFolder:
    first = modules[0]
    st_config = read_json(path / "config_sentence_transformers.json", name)
    prompts = st_config.get("prompts") or {}
    default = prompts.get(st_config.get("default_prompt_name") or "", "")
    config = read_json(first.path / "config.json", name, required=first.kind == "Transformer")
    bert_config = read_json(first.path / "sentence_bert_config.json", name)
    require_safetensors(first.path, path, name)
    pooling, layers = _after_input(modules, path, name, has_prompts=any(prompts.values()))
    offset = int(config.get("pad_token_id") or 0) + 1
    position_offset = offset if config.get("model_type") in _COUNT_POSITIONS_FROM_PADDING else 0
    return ModelFolder(
        name=name,
        path=path,
        input_kind=cast(InputKind, first.kind),
        input_path=first.path,
        pooling_modes=pooling,
        layers=layers,
        max_tokens=_max_tokens(first, config, bert_config, position_offset, name),
        position_offset=position_offset,
        lower_case=bool(bert_config.get("do_lower_case", False)),
        query_prompt=prompts.get("query", default),
        document_prompt=next((prompts[key] for key in ("document", "passage", "corpus") if key in prompts), default),
        similarity=_similarity(st_config, layers),
        shorter_dims=_shorter_dims(config, st_config),
    )


def _after_input(
    modules: Sequence[ModuleFolder], root: Path, name: str, *, has_prompts: bool
) -> tuple[tuple[str, ...], tuple[Layer, ...]]:
    """(pooling modes, layers after pooling)."""
    pooling: tuple[str, ...] = ("mean",)
    layers: list[Layer] = []
    for module in modules[1:]:
        config = read_json(module.path / "config.json", name, required=module.kind == "Pooling")
        if module.kind == "Pooling":
            if layers or modules[0].kind != "Transformer":
                raise ModelError(f"model [{name}]: its Pooling does not follow its Transformer, which is not supported")
            pooling = _pooling_modes(config, name)
            if has_prompts and config.get("include_prompt") is False:
                raise ModelError(
                    f"model [{name}] leaves the word pieces of its prompts out of its pooling ([include_prompt] is false), "
                    "which is not supported"
                )
        elif module.kind in LAYER_KINDS:
            if config.get("module_input_name", "sentence_embedding") != "sentence_embedding":
                raise ModelError(f"model [{name}] has a {module.kind} module over word pieces, which is not supported")
            if module.kind != "Normalize":
                require_safetensors(module.path, root, name)
            layers.append(Layer(module.kind, module.path))
        elif module.kind != "Dropout":
            raise ModelError(f"model [{name}] has a module of kind [{module.kind}], which is not supported")
    return pooling, tuple(layers)


def _similarity(st_config: Mapping[str, Any], layers: Sequence[Layer]) -> str:
    """`max_inner_product` or `l2_norm` for models in which the length of a vector has a meaning."""
    if any(layer.kind == "Normalize" for layer in layers[-1:]):
        return "dot_product"
    return {"dot": "max_inner_product", "euclidean": "l2_norm"}.get(
        str(st_config.get("similarity_fn_name")), "dot_product"
    )


def _shorter_dims(config: Mapping[str, Any], st_config: Mapping[str, Any]) -> tuple[int, ...]:
    """The widths that the configuration of a Matryoshka model lists."""
    widths = [st_config.get("truncate_dim")]
    for key in ("matryoshka_dims", "matryoshka_dimensions"):
        for holder in (config, st_config):
            widths += holder[key] if isinstance(holder.get(key), list) else []
    return tuple(sorted({dims for dims in widths if isinstance(dims, int) and dims > 0}))


def _pooling_modes(config: Mapping[str, Any], name: str) -> tuple[str, ...]:
    if "pooling_mode" in config:
        named = config["pooling_mode"]
        modes = tuple([named] if isinstance(named, str) else named)
    else:
        modes = tuple(mode for key, mode in _OLD_POOLING_KEYS.items() if config.get(key))
    for mode in modes:
        if mode not in POOLING_MODES:
            raise ModelError(f"model [{name}] pools by [{mode}], which is not supported")
    return modes or ("mean",)


def _max_tokens(
    first: ModuleFolder, config: Mapping[str, Any], bert: Mapping[str, Any], position_offset: int, name: str
) -> int:
    if first.kind == "StaticEmbedding":
        truncation = read_json(first.path / "tokenizer.json", name, required=True).get("truncation") or {}
        return min(_MAX_TOKENS_OF_STATIC, int(truncation.get("max_length") or _MAX_TOKENS_OF_STATIC))
    limits = [_MAX_TOKENS_IF_UNSAID]
    positions = config.get("max_position_embeddings")
    if isinstance(positions, int) and positions > 0:
        limits = [positions - position_offset]
    tokenizer = read_json(first.path / "tokenizer_config.json", name)
    for limit in (bert.get("max_seq_length"), tokenizer.get("model_max_length")):
        if isinstance(limit, int) and 0 < limit < 10**6:
            limits.append(limit)
    return min(limits)
