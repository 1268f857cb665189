"""Fine-tunes an encoder on pairs of question and answer; sentence-transformers' trainer does the work.

The recipe of multi-qa-distilbert-cos-v1 (its model card): (question, answer) pairs, in-batch negatives by
MultipleNegativesRankingLoss with scale 20 and cosine, mean pooling, several weighted data sets, at most 250 word pieces. In
addition: hard negatives mined from the index itself, and early stopping on the nDCG of held-back queries.
"""

import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elasticsearch import Elasticsearch

from esblend.encoder.folder import find_model
from esblend.errors import InvalidRequest, UnusableFile
from mappings.attachment import Attachment
from mappings.source import source_text
from query.lab.batch_searches import Advance, search_all
from query.lab.judgements import Judged
from query.lab.systems import hybrid

SCALE = 20.0
MAX_TOKENS = 250
_MINED_DEPTH = 30
_SKIPPED = 2
"""The best hits without a judgement are often right answers, so they are not used as negatives."""


@dataclass(frozen=True)
class Example:
    """A question, its answer, and optionally a hard negative: a text that looks like an answer but is not."""

    query: str
    answer: str
    negative: str | None = None


@dataclass(frozen=True)
class HeldBack:
    """Queries that decide when to stop: their texts, the documents, and the right documents of each."""

    queries: Mapping[str, str]
    documents: Mapping[str, str]
    right: Mapping[str, set[str]]


@dataclass(frozen=True)
class Options:
    """How to train. A query has `batch_size` - 1 in-batch negatives."""

    epochs: float = 3.0
    batch_size: int = 16
    learning_rate: float = 2e-5
    warmup: float = 0.1
    patience: int = 2
    evaluations: int = 4
    """Per epoch."""
    seed: int = 0


def read_data_config(file: Path) -> list[tuple[str, float, list[Example]]]:
    """(name, weight, examples) of each data set in a `data_config.json`: a list of `{"name": "pairs.jsonl", "weight": 2}`.

    Each file is in the same folder and contains JSON lines: `[question, answer]` with an optional negative as third element, or
    objects with `query`, `answer` and optionally `negative`. Raises UnusableFile naming the file and line.
    """
    try:
        config = json.loads(file.read_text("utf-8"))
        if not isinstance(config, list):
            raise TypeError("it is not a list")
        data = [
            (entry["name"], float(entry.get("weight", 1)), list(_examples(file.parent / entry["name"])))
            for entry in config
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnusableFile(f"[{file}] is not a list of objects with [name] and [weight]: {error}") from error
    for name, weight, _ in data:
        if not 0 < weight < math.inf:
            raise UnusableFile(f"[{file}] gives [{name}] the weight {weight:g}; a weight is above 0")
    return data


def _examples(file: Path) -> Iterator[Example]:
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        row = json.loads(line)
        parts = [row.get(key) for key in ("query", "answer", "negative")] if isinstance(row, dict) else row
        if not isinstance(parts, list) or len(parts) < 2 or not all(isinstance(part, str) for part in parts[:2]):
            raise UnusableFile(f"[{file}:{number}] must hold a question and an answer")
        if not isinstance(parts[2] if len(parts) > 2 else None, str | None):
            raise UnusableFile(f"[{file}:{number}] has a negative that is not a text")
        yield Example(*parts[:3])


def mine(
    es: Elasticsearch,
    index: str,
    attachment: Attachment,
    judged: Judged,
    *,
    seed: int,
    advance: Advance = lambda _: None,
) -> list[Example]:
    """An example for each right answer, with a hard negative: a document that BM25 or kNN ranks high and that is not judged
    relevant."""
    wrong: dict[str, list[str]] = {id_: [] for id_ in judged.queries}
    for system in (hybrid("BM25", alpha=0), hybrid("kNN", alpha=1)):
        bodies = {id_: {**system.body(text), "size": _MINED_DEPTH} for id_, text in judged.queries.items()}
        for id_, response in search_all(es, index, bodies, advance):
            hits = [hit["_id"] for hit in response["hits"]["hits"]]
            wrong[id_] += [document for document in hits if judged.grades[id_].get(document, 0) <= 0][_SKIPPED:]
    right = {
        id_: [document for document, grade in grades.items() if grade > 0] for id_, grades in judged.grades.items()
    }
    documents = {document for group in (right, wrong) for ids in group.values() for document in ids}
    texts = read_texts(es, index, attachment, documents)
    draw = random.Random(seed)
    examples = []
    for id_, query in judged.queries.items():
        negatives = [document for document in wrong[id_] if texts.get(document)]
        for answer in right[id_]:
            if texts.get(answer):
                negative = texts[draw.choice(negatives)] if negatives else None
                examples.append(Example(query, texts[answer], negative))
    return examples


def held_back(
    es: Elasticsearch, index: str, attachment: Attachment, judged: Judged, *, documents: int, seed: int
) -> HeldBack:
    """The queries with their right answers among `documents` documents: BM25's hits for them, which are hard to distinguish."""
    selected: dict[str, None] = {
        document: None for grades in judged.grades.values() for document, grade in grades.items() if grade > 0
    }
    bodies = {id_: {**hybrid("BM25", alpha=0).body(text), "size": 50} for id_, text in judged.queries.items()}
    others = [hit["_id"] for _, response in search_all(es, index, bodies) for hit in response["hits"]["hits"]]
    random.Random(seed).shuffle(others)
    selected |= dict.fromkeys(others[: max(0, documents - len(selected))])
    texts = {id_: text for id_, text in read_texts(es, index, attachment, set(selected)).items() if text}
    right = {
        id_: {document for document, grade in grades.items() if grade > 0 and document in texts}
        for id_, grades in judged.grades.items()
    }
    queries = {id_: text for id_, text in judged.queries.items() if right[id_]}
    return HeldBack(queries, texts, {id_: right[id_] for id_ in queries})


def read_texts(es: Elasticsearch, index: str, attachment: Attachment, ids: set[str]) -> dict[str, str]:
    """Source texts of documents by id."""
    texts: dict[str, str] = {}
    ordered = sorted(ids)
    for start in range(0, len(ordered), 500):
        part = ordered[start : start + 500]
        response = es.search(
            index=index, query={"ids": {"values": part}}, size=len(part), source_includes=attachment.source_fields
        )
        for hit in response["hits"]["hits"]:
            texts[hit["_id"]] = source_text(hit["_source"], attachment.source_fields).text
    return texts


def train(
    model: str,
    data: Sequence[tuple[str, float, list[Example]]],
    held: HeldBack | None,
    output: Path,
    options: Options,
    *,
    resume: bool = False,
) -> dict[str, Any]:
    """Train, and write a sentence-transformers folder to `output`. Returns the held-back nDCG@10 before and after.

    Uses GPUs and mixed precision if the machine has them. `resume`: continue from the last checkpoint in `output`/checkpoints.
    """
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.losses import MultipleNegativesRankingLoss
    from sentence_transformers.trainer import SentenceTransformerTrainer
    from sentence_transformers.training_args import MultiDatasetBatchSamplers, SentenceTransformerTrainingArguments
    from transformers import EarlyStoppingCallback, set_seed

    set_seed(options.seed)
    encoder = SentenceTransformer(str(find_model(model).path), trust_remote_code=False)
    encoder.max_seq_length = min(MAX_TOKENS, encoder.max_seq_length or MAX_TOKENS)
    datasets = _datasets(data, options.seed)
    steps = max(1, sum(len(dataset) for dataset in datasets.values()) // options.batch_size)
    every = max(1, steps // options.evaluations)
    evaluator = _evaluator(held) if held is not None else None
    before = _ndcg(evaluator(encoder)) if evaluator is not None else None
    has_gpu = torch.cuda.is_available()
    schedule: dict[str, Any] = {"save_strategy": "steps", "save_steps": every, "save_total_limit": 2}
    if evaluator is not None:
        schedule |= {
            "eval_strategy": "steps", "eval_steps": every, "load_best_model_at_end": True,
            "metric_for_best_model": "eval_held-back_cosine_ndcg@10", "greater_is_better": True,
        }  # fmt: skip
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(output / "checkpoints"), num_train_epochs=options.epochs, per_device_train_batch_size=options.batch_size,
        learning_rate=options.learning_rate, warmup_steps=round(options.warmup * steps * options.epochs), seed=options.seed,
        bf16=has_gpu and torch.cuda.is_bf16_supported(), fp16=has_gpu and not torch.cuda.is_bf16_supported(), report_to=[],
        logging_steps=every, multi_dataset_batch_sampler=MultiDatasetBatchSamplers.PROPORTIONAL, dataloader_pin_memory=has_gpu,
        **schedule,
    )  # fmt: skip
    trainer = SentenceTransformerTrainer(
        model=encoder, args=arguments, train_dataset=datasets, evaluator=evaluator,
        loss=MultipleNegativesRankingLoss(encoder, scale=SCALE),
        callbacks=[EarlyStoppingCallback(options.patience)] if evaluator is not None else [],
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=resume or None)
    after = _ndcg(evaluator(encoder)) if evaluator is not None else None
    encoder.save_pretrained(str(output / "model"), create_model_card=False)
    pairs = sum(len(examples) for _, _, examples in data)
    return {
        "model": str(output / "model"),
        "pairs": pairs,
        "steps": trainer.state.global_step,
        "before": before,
        "after": after,
    }


def _datasets(data: Sequence[tuple[str, float, list[Example]]], seed: int) -> dict[str, Any]:
    """Data sets by name, repeated or sampled so that batches draw from them in proportion to their weights."""
    from datasets import Dataset

    total = sum(len(examples) for _, _, examples in data)
    weights = sum(weight for _, weight, _ in data)
    draw = random.Random(seed)
    datasets = {}
    for name, weight, examples in data:
        if not examples:
            raise InvalidRequest(f"[{name}] has no pairs to train on")
        # The rows of a data set need the same columns, so negatives are used only if every pair has one.
        has_negatives = all(example.negative is not None for example in examples)
        wanted = max(1, round(total * weight / weights))
        chosen = list(examples) * (wanted // len(examples)) + draw.sample(examples, wanted % len(examples))
        columns = {"anchor": [example.query for example in chosen], "positive": [example.answer for example in chosen]}
        if has_negatives:
            columns["negative"] = [str(example.negative) for example in chosen]
        datasets[name] = Dataset.from_dict(columns)
    return datasets


def _evaluator(held: HeldBack) -> Any:
    from sentence_transformers.evaluation import InformationRetrievalEvaluator

    return InformationRetrievalEvaluator(
        dict(held.queries), dict(held.documents), {id_: set(right) for id_, right in held.right.items()},
        ndcg_at_k=[10], mrr_at_k=[10], accuracy_at_k=[10], precision_recall_at_k=[10], map_at_k=[100], name="held-back",
        write_csv=False,
    )  # fmt: skip


def _ndcg(values: Any) -> float:
    ndcg = next(value for name, value in values.items() if name.endswith("cosine_ndcg@10"))
    return round(float(ndcg), 4)
