"""Every code block of the documentation runs, in its page's order, as a reader would type it.

A comment before a block may say `<!-- before: STATE -->`, which makes the index `articles` anew in that state, or
`<!-- elsewhere: REASON -->` for the few that cannot run here.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from esblend.encoder.folder import find_model
from mappings.requests import parse_attach_request
from tests.conftest import ROOT, Stack
from tests.packaged_encoder import vectors_of

PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])
MOST_ELSEWHERE = 12
_BLOCK = re.compile(
    r"(?:<!-- (?P<key>before|elsewhere): (?P<value>[^>]+) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S
)
TEXTS = {
    "1": ("Resetting your password", "Open the sign-in page and follow the link below the form to choose a new password."),
    "2": ("Sign-in codes", "Codes for signing in last five minutes. Ask for another one when yours has expired."),
    "3": ("Opening hours", "The shop is open from nine to five on weekdays and closed on public holidays."),
    "4": ("Shipping", "Parcels leave the warehouse on the day after the order and take two to four days."),
    "5": ("Returns", "Send back what you do not like within thirty days. The label is in the parcel."),
    "6": ("Invoices", "Invoices are sent by mail and can be found in your account under orders."),
    "7": ("Forgotten account", "We can find your account by the number of any order that you have made."),
    "8": ("Gift cards", "Gift cards never expire. Enter the code at the last step of the order."),
    "9": ("Passwords that are safe", "Long ones are better than strange ones. A manager remembers them for you."),
    "10": ("Allergies", "Each product page lists what it contains and what it may contain traces of."),
    "11": ("Newsletter", "It comes once a month. The last line of each has a link to stop it."),
    "12": ("Jobs", "We look for people in the warehouse and at the service desk."),
}  # fmt: skip
QUERIES = {
    "q1": ("how do I reset my password", "1"),
    "q2": ("code for signing in", "2"),
    "q3": ("send a parcel back", "5"),
    "q4": ("when does my order arrive", "4"),
    "q5": ("stop getting mails", "11"),
    "q6": ("work for you", "12"),
    "q7": ("is the shop open on sunday", "3"),
    "q8": ("where is my bill", "6"),
    "q9": ("lost my account", "7"),
    "q10": ("redeem a voucher", "8"),
    "q11": ("good passwords", "9"),
    "q12": ("does it contain nuts", "10"),
}


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    code: str
    before: str | None
    elsewhere: str | None


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(
            page.name, text.count("\n", 0, block.start("code")), block["language"], block["code"],
            block["value"] if block["key"] == "before" else None, block["value"] if block["key"] == "elsewhere" else None,
        )
        for block in _BLOCK.finditer(text)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's working folder: documents, judgements, and a model of their own."""
    folder = tmp_path_factory.mktemp("docs")
    documents = [{"id": id_, "title": title, "body": body, "lang": "en"} for id_, (title, body) in TEXTS.items()]
    (folder / "articles.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))
    queries = "".join(json.dumps({"_id": id_, "text": text}) + "\n" for id_, (text, _) in QUERIES.items())
    judgements = "".join(f"{id_} 0 {document} 1\n" for id_, (_, document) in QUERIES.items())
    (folder / "queries.jsonl").write_text(queries)
    for name in ("qrels.txt", "train.txt"):
        (folder / name).write_text(judgements)
    model = Path(shutil.copytree(find_model("minilm").path, folder / "model"))
    (model / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    collection = folder / "collection"
    (collection / "qrels").mkdir(parents=True)
    corpus = [{"_id": id_, "title": title, "text": body} for id_, (title, body) in TEXTS.items()]
    (collection / "corpus.jsonl").write_text("".join(json.dumps(document) + "\n" for document in corpus))
    (collection / "queries.jsonl").write_text(queries)
    (collection / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"{id_}\t{document}\t1\n" for id_, (_, document) in QUERIES.items())
    )
    return folder


def prepare(stack: Stack, state: str) -> None:
    """`articles` anew: `absent`, `detached`, `attached`, or with `vectors` of somebody else's."""
    stack.es.indices.delete(index="articles", ignore_unavailable=True)
    if state == "absent":
        return
    properties: dict[str, Any] = {
        "title": {"type": "text"}, "body": {"type": "text"}, "lang": {"type": "keyword"}
    }  # fmt: skip
    if state == "vectors":
        properties["embedding"] = {"type": "dense_vector", "dims": 384, "similarity": "cosine"}
    settings = {"number_of_replicas": 0, "index.mapping.nested_objects.limit": 100}
    stack.es.indices.create(index="articles", mappings={"properties": properties}, settings=settings)
    vectors = vectors_of([body for _, body in TEXTS.values()])
    for (id_, (title, body)), vector in zip(TEXTS.items(), vectors, strict=True):
        additional = {"embedding": vector.tolist()} if state == "vectors" else {}
        stack.es.index(index="articles", id=id_, document={"title": title, "body": body, "lang": "en", **additional})
    if state == "attached":
        stack.es.index(index="articles", id="too-long", document={"title": "Terms", "body": "And so on. " * 8000})
        stack.attach("articles", "title", "body")
        stack.wait("articles")
    stack.es.indices.refresh(index="articles")


@pytest.fixture
def _no_articles(stack: Stack) -> Iterator[None]:
    yield
    stack.es.indices.delete(index="articles,plain,help", ignore_unavailable=True)


FIRST_STATE = {"index.md": "absent", "README.md": "absent", "attach.md": "detached", "tutorial.md": "absent"}


@pytest.mark.usefixtures("_no_articles")
@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)], ids=lambda page: page.name)
def test_every_block_runs(stack: Stack, folder: Path, page: Path) -> None:
    prepare(stack, FIRST_STATE.get(page.name, "attached"))
    for block in blocks_of(page):
        if block.elsewhere:
            continue
        if block.before:
            prepare(stack, block.before)
        where = f"{block.page}, line {block.line}:\n{block.code}"
        code = block.code
        for name, port in (("gateway", 9280), ("elasticsearch", 9200)):
            code = code.replace(f"localhost:{port}", stack.described[name].removeprefix("http://"))
        match block.language:
            case "sh":
                run_shell(stack, folder, code, where)
            case "python":
                run_python(code, where)
            case "json":
                run_json(stack, json.loads(code), where)
            case "mermaid":
                continue
            case other:
                pytest.fail(f"a block of [{other}], which nothing runs: {where}")


def run_shell(stack: Stack, folder: Path, code: str, where: str) -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith("ESBLEND_")} | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "ESBLEND_DATA_DIR": str(stack.data_dir),
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    command = ["bash", "-euo", "pipefail", "-c", code]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{where}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"


def run_python(code: str, where: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{where}\n{done.stderr[-3000:]}"


def run_json(stack: Stack, body: dict[str, Any], where: str) -> None:
    if "source_fields" in body:
        parse_attach_request(body)
    elif "mappings" in body:
        stack.es.indices.create(index="plain", body=body)
        stack.es.indices.delete(index="plain")
    else:
        answer = stack.gateway.options(ignore_status=[400, 404]).search(index="articles", body=body)
        assert answer.meta.status == 200, f"{where}\n{answer.body}"
        assert answer["hits"]["hits"], where
        assert "degraded" not in answer.get("esblend", {}), where


def test_few_blocks_run_elsewhere() -> None:
    excused = [block for page in PAGES for block in blocks_of(page) if block.elsewhere]
    assert len(excused) <= MOST_ELSEWHERE, [f"{block.page}:{block.line}" for block in excused]
    assert sum(len(blocks_of(page)) for page in PAGES) > 40
