"""Fine-tunes an encoder on pairs of question and answer; sentence-transformers' trainer does the work.

The recipe of multi-qa-distilbert-cos-v1 (its model card): (question, answer) pairs, in-batch negatives by
MultipleNegativesRankingLoss with scale 20 and cosine, mean pooling, several data sets drawn from by weight, at most 250 word
pieces. Beside that, hard negatives mined from the index itself, and early stopping on the nDCG of queries held back.
"""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elasticsearch import Elasticsearch

from esblend.encoder.folder import find_model
from esblend.errors import InvalidRequest
from mappings.attachment import Attachment
from mappings.source import source_text
from query.lab.judged import Judged
from query.lab.searching import Advance, search_all
from query.lab.systems import hybrid

SCALE = 20.0
MAX_TOKENS = 250
_MINED_DEPTH = 30
_SKIPPED = 2
"""The very best wrong hits are often right answers that nobody judged, so they are skipped."""


@dataclass(frozen=True)
class Example:
    """A question, an answer, and if there is one a text that looks like an answer and is none."""

    query: str
    answer: str
    negative: str | None = None


@dataclass(frozen=True)
class HeldBack:
    """Queries that decide when to stop: texts, documents, and which of them are right."""

    queries: Mapping[str, str]
    documents: Mapping[str, str]
    right: Mapping[str, set[str]]


@dataclass(frozen=True)
class Options:
    """How to train. `batch_size` also is the number of in-batch negatives and one."""

    epochs: float = 3.0
    batch_size: int = 16
    learning_rate: float = 2e-5
    warmup: float = 0.1
    patience: int = 2
    evaluations: int = 4
    """In an epoch."""
    seed: int = 0


def read_data_config(file: Path) -> list[tuple[str, float, list[Example]]]:
    """(name, weight, examples) of each data set in a `data_config.json`: a list of `{"name": "pairs.jsonl", "weight": 2}`.

    Each file is in the same folder and holds JSON lines: `[question, answer]`, with a negative as third, or objects with `query`,
    `answer` and perhaps `negative`. Raises InvalidRequest naming what is wrong.
    """
    try:
        config = json.loads(file.read_text("utf-8"))
        return [
            (one["name"], float(one.get("weight", 1)), list(_examples(file.parent / one["name"]))) for one in config
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidRequest(f"[{file}] is not a list of objects with [name] and [weight]: {error}") from error


def _examples(file: Path) -> Iterator[Example]:
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        found = json.loads(line)
        parts = [found.get(key) for key in ("query", "answer", "negative")] if isinstance(found, dict) else found
        if not isinstance(parts, list) or len(parts) < 2 or not all(isinstance(part, str) for part in parts[:2]):
            raise InvalidRequest(f"[{file}:{number}] is not a question with an answer")
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
    """An example for each right answer, with a hard negative: a document that BM25 or kNN ranks high and nobody judged right."""
    wrong: dict[str, list[str]] = {id_: [] for id_ in judged.queries}
    for system in (hybrid("BM25", alpha=0), hybrid("kNN", alpha=1)):
        bodies = {id_: {**system.body(text), "size": _MINED_DEPTH} for id_, text in judged.queries.items()}
        for id_, response in search_all(es, index, bodies, advance):
            found = [hit["_id"] for hit in response["hits"]["hits"]]
            wrong[id_] += [one for one in found if judged.grades[id_].get(one, 0) <= 0][_SKIPPED:]
    right = {id_: [one for one, grade in grades.items() if grade > 0] for id_, grades in judged.grades.items()}
    texts = read_texts(
        es, index, attachment, {one for group in (right, wrong) for ids in group.values() for one in ids}
    )
    draw = random.Random(seed)
    examples = []
    for id_, query in judged.queries.items():
        negatives = [one for one in wrong[id_] if texts.get(one)]
        for answer in right[id_]:
            if texts.get(answer):
                negative = texts[draw.choice(negatives)] if negatives else None
                examples.append(Example(query, texts[answer], negative))
    return examples


def held_back(
    es: Elasticsearch, index: str, attachment: Attachment, judged: Judged, *, documents: int, seed: int
) -> HeldBack:
    """The queries with their right answers among so many documents: the hits of BM25 for them, which are hard to tell apart."""
    wanted: dict[str, None] = {
        one: None for grades in judged.grades.values() for one, grade in grades.items() if grade > 0
    }
    bodies = {id_: {**hybrid("BM25", alpha=0).body(text), "size": 50} for id_, text in judged.queries.items()}
    others = [hit["_id"] for _, response in search_all(es, index, bodies) for hit in response["hits"]["hits"]]
    random.Random(seed).shuffle(others)
    wanted |= dict.fromkeys(others[: max(0, documents - len(wanted))])
    texts = {id_: text for id_, text in read_texts(es, index, attachment, set(wanted)).items() if text}
    right = {
        id_: {one for one, grade in grades.items() if grade > 0 and one in texts}
        for id_, grades in judged.grades.items()
    }
    kept = {id_: text for id_, text in judged.queries.items() if right[id_]}
    return HeldBack(kept, texts, {id_: right[id_] for id_ in kept})


def read_texts(es: Elasticsearch, index: str, attachment: Attachment, ids: set[str]) -> dict[str, str]:
    """Source texts of documents by id."""
    texts: dict[str, str] = {}
    ordered = sorted(ids)
    for start in range(0, len(ordered), 500):
        part = ordered[start : start + 500]
        answer = es.search(
            index=index, query={"ids": {"values": part}}, size=len(part), source_includes=attachment.source_fields
        )
        for hit in answer["hits"]["hits"]:
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
    """Train, and write a sentence-transformers folder to `output`. Gives the held-back nDCG@10 before and after.

    Mixed precision and several GPUs are used where there are any. With `resume` it goes on from the last checkpoint in
    `output`/checkpoints.
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
    steps = max(1, sum(len(one) for one in datasets.values()) // options.batch_size)
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
    """Each data set, repeated or thinned so that batches come from them in the proportion of their weights."""
    from datasets import Dataset

    total = sum(len(examples) for _, _, examples in data)
    weights = sum(weight for _, weight, _ in data)
    draw = random.Random(seed)
    found = {}
    for name, weight, examples in data:
        if not examples:
            raise InvalidRequest(f"[{name}] holds no pairs to train on")
        # Columns must be alike within a data set, so one without a negative for every pair goes without.
        has_negatives = all(one.negative is not None for one in examples)
        wanted = max(1, round(total * weight / weights))
        chosen = list(examples) * (wanted // len(examples)) + draw.sample(examples, wanted % len(examples))
        columns = {"anchor": [one.query for one in chosen], "positive": [one.answer for one in chosen]}
        if has_negatives:
            columns["negative"] = [str(one.negative) for one in chosen]
        found[name] = Dataset.from_dict(columns)
    return found


def _evaluator(held: HeldBack) -> Any:
    from sentence_transformers.evaluation import InformationRetrievalEvaluator

    return InformationRetrievalEvaluator(
        dict(held.queries), dict(held.documents), {id_: set(right) for id_, right in held.right.items()},
        ndcg_at_k=[10], mrr_at_k=[10], accuracy_at_k=[10], precision_recall_at_k=[10], map_at_k=[100], name="held-back",
        write_csv=False,
    )  # fmt: skip


def _ndcg(values: Any) -> float:
    found = next(value for name, value in values.items() if name.endswith("cosine_ndcg@10"))
    return round(float(found), 4)
