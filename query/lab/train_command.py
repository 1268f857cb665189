"""The command `esblend train`."""

import random
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from esblend.cli.console import err, out, print_json
from esblend.cli.gateway_client import FAILED, DataDir, Json, call, end, gateway, stating_errors
from esblend.errors import MissingExtra
from esblend.extras import require

app = typer.Typer()


@app.command()
def train(
    output: Annotated[Path, typer.Argument(help="A folder for checkpoints and the finished model.")],
    model: Annotated[str, typer.Option(help="The model to start from.")],
    index: Annotated[str | None, typer.Option(help="Take pairs and hard negatives from this attached index.")] = None,
    queries: Annotated[Path | None, typer.Option(help="The queries, as in eval.")] = None,
    qrels: Annotated[Path | None, typer.Option(help="As in eval: the judgements to train on.")] = None,
    data_config: Annotated[
        Path | None, typer.Option(help='data_config.json: [{"name": "pairs.jsonl", "weight": 2}, ...]')
    ] = None,
    held_back: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share of the judged queries to hold back; they decide when to stop.")
    ] = 0.15,
    eval_documents: Annotated[
        int, typer.Option(min=100, help="Number of documents that the held-back queries search.")
    ] = 1000,
    epochs: Annotated[float, typer.Option(min=0.01, help="Passes over the training data.")] = 3.0,
    batch_size: Annotated[int, typer.Option(min=2, help="Pairs in a batch; the others in it are negatives.")] = 16,
    learning_rate: Annotated[float, typer.Option(min=1e-9, help="The highest learning rate.")] = 2e-5,
    seed: Annotated[int, typer.Option(help="Seed of all random choices.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Resume from the last checkpoint.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Fine-tune an encoder on your own questions and answers, with hard negatives from your own index.

    The result is a model folder, for `esblend migrate INDEX --model FOLDER/model`.
    Exit code 1 when the model is not better on the held-back queries.
    """
    with stating_errors():
        require(
            "torch", "sentence_transformers", "datasets", "accelerate", purpose="`esblend train`", error=MissingExtra
        )
    from esblend.encoder.folder import find_model
    from mappings.attachment import Attachment
    from query.lab import training
    from query.lab.judgements import read_judgements

    with stating_errors():
        data = training.read_data_config(data_config) if data_config else []
    held = None
    if index is not None:
        if qrels is None:
            end("--index needs --qrels (and --queries).")
        with stating_errors():
            judged = read_judgements(qrels, queries)
        ids = sorted(judged.queries)
        random.Random(seed).shuffle(ids)
        cut = round(len(ids) * held_back)
        with gateway(data_dir) as es:
            find_model(model)  # before the index is searched
            attachment = Attachment.model_validate(
                call(es, "GET", f"/_esblend/indices/{quote(index, safe='')}")["attachment"]
            )
            with err.status("Mining hard negatives"):
                data.append((index, 1.0, training.mine(es, index, attachment, judged.only(ids[cut:]), seed=seed)))
            if cut:
                held = training.held_back(
                    es, index, attachment, judged.only(ids[:cut]), documents=eval_documents, seed=seed
                )
    if not data:
        end("Pass training data: --index with --qrels, or --data-config.")
    options = training.Options(epochs, batch_size, learning_rate, seed=seed)
    with stating_errors(), redirect_stdout(sys.stderr):  # the trainer prints its log
        outcome = training.train(model, data, held, output, options, resume=resume)
    if as_json:
        print_json(outcome)
    else:
        out.print(f"{outcome['pairs']} pairs, {outcome['steps']} steps: the model is in {outcome['model']}")
        if held is not None:
            out.print(
                f"nDCG@10 on {len(held.queries)} held-back queries: {outcome['before']} -> {outcome['after']}",
            )
    if held is not None and outcome["after"] <= outcome["before"]:
        raise typer.Exit(FAILED)
