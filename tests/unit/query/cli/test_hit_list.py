"""The list of hits, drawn for a terminal of 80 columns."""

import io
from typing import Any

from rich.console import Console

from query.cli.hit_list import hit_list, matched_words

LEXICAL = {"leg": "lexical", "contribution": 0.35, "weight": 0.35, "normalized": 1.0, "rank": 1, "score": 4.56991}
SEMANTIC = {
    "leg": "semantic", "contribution": 0.3097, "weight": 0.65, "normalized": 0.47648, "rank": 1, "score": 0.54194,
    "dot_product": 0.54194, "mean": 0.12509,
}  # fmt: skip


def hit(title: str, passage: str = "", **highlight: list[str]) -> dict[str, Any]:
    made: dict[str, Any] = {"_id": "a", "_score": 0.6597, "_source": {"title": title}, "highlight": highlight}
    if passage:
        made["inner_hits"] = {"passages": {"hits": {"hits": [{"fields": {"text": [passage]}}]}}}
    return made


def drawn(*arguments: Any, colours: bool = False) -> str:
    out = io.StringIO()
    Console(file=out, width=80, force_terminal=colours, color_system="truecolor" if colours else None).print(
        hit_list(*arguments)
    )
    return out.getvalue()


def test_a_title_that_the_passage_repeats_is_shown_once() -> None:
    shown = drawn([hit("Where is my parcel?", "Where is my parcel? Each parcel has a number.")])
    assert shown.split("\n")[1].strip() == "Each parcel has a number."


def test_a_score_is_derived_in_one_line_for_each_leg() -> None:
    shown = drawn([hit("A", "B")], [{"legs": [LEXICAL, SEMANTIC]}])
    lines = [line.strip() for line in shown.split("\n")]
    assert "lexical   0.3500 = 0.35 × 1.0000  rank 1, score 4.5699" in lines
    assert "semantic  0.3097 = 0.65 × 0.4765  rank 1, dot product 0.5419, mean 0.1251" in lines


def test_a_leg_without_the_document_says_so() -> None:
    absent = {"leg": "lexical", "contribution": 0.0, "weight": 0.35, "normalized": 0.0}
    assert "lexical   0.0000 = 0.35 × 0.0000  no match" in drawn([hit("A", "B")], [{"legs": [absent, SEMANTIC]}])


def test_matched_words_are_those_of_elasticsearch_without_function_words() -> None:
    marked = hit("A", "The card does not work, carefully.", body=["The \ue000card\ue001 does \ue000not\ue001 work"])
    assert matched_words([marked]) == {"card"}
    assert "\x1b[1mcard\x1b[0m does not work, carefully" in drawn([marked], colours=True)
    assert matched_words([hit("A", body=["\ue000to\ue001 be or \ue000not\ue001"])]) == {"to", "not"}


def test_a_hit_without_vectors_shows_its_best_fragment() -> None:
    assert "Send the parcel back." in drawn([hit("Returns", body=["Send the \ue000parcel\ue001 back."])])


def test_titles_and_scores_are_not_dim() -> None:
    """Only the rank is dim."""
    shown = drawn([hit("Whales")], colours=True)
    assert "\x1b[1mWhales\x1b[0m" in shown
    assert "\x1b[32m  0.6597\x1b[0m" in shown


def test_a_leg_has_its_colour_wherever_it_stands() -> None:
    shown = drawn([hit("A", "B")], [{"legs": [SEMANTIC, {**SEMANTIC, "leg": "semantic.title"}, LEXICAL]}], colours=True)
    words, meaning = "\x1b[38;2;63;127;221m", "\x1b[38;2;232;133;58m"
    assert shown.count(f"{meaning}semantic") == 2
    assert shown.count(f"{words}lexical") == 1
