"""Draws the hits of a search for a terminal: rank, title, id, the matching passage, and what each leg contributes."""

import re
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

LEXICAL, SEMANTIC, OTHER = "#3f7fdd", "#e8853a", "magenta"
"""Colours of the legs, as in the playground; readable on dark and light terminals."""
_BAR_WIDTH = 40
_PASSAGE_CHARACTERS = 320
_MARK = "\ue000", "\ue001"
_STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a about all am an and any are as at be been but by can could did do does for from had has have how i if in into is it "
        "its me my no not of on or our should so some something than that the their them then there these they this those to was "
        "we were what when where which who why will with would you your",
    )
)
"""English function words: an analyzer without a stop list matches them, and bold ones hide the words that matter."""

HIGHLIGHT: dict[str, Any] = {
    "pre_tags": _MARK[:1], "post_tags": _MARK[1:], "number_of_fragments": 5, "fragment_size": 200, "fields": {"*": {}},
}  # fmt: skip
"""The `highlight` of the search request. It marks the words that Elasticsearch matched."""


def hit_list(hits: list[dict[str, Any]], explanations: Sequence[dict[str, Any] | None] | None = None) -> Group:
    """The hits in rank order, with the words that Elasticsearch matched (see HIGHLIGHT) in bold.
    `explanations`, in the same order, add a bar per hit in two colours, one for each leg, and the figures."""
    top = max((hit["_score"] or 0.0 for hit in hits), default=0.0)
    parts: list[RenderableType] = []
    matched = matched_words(hits)
    for rank, hit in enumerate(hits, start=1):
        parts.append(_heading(rank, hit))
        text = passage_of(hit) or _fragment_of(hit)
        if text := text.removeprefix(_title(hit)).strip():  # a passage may repeat the title
            parts.append(Padding(_passage(text, matched), (0, 0, 0, 4), expand=False))
        explained = explanations[rank - 1] if explanations else None
        if explained is not None:
            parts.append(Padding(_bar(explained["legs"], top), (0, 0, 0, 4), expand=False))
        parts.append(Text())
    return Group(*parts[:-1])


def passage_of(hit: dict[str, Any]) -> str:
    """The text of a hit's best passage; empty when the semantic leg did not match."""
    passages = hit.get("inner_hits", {}).get("passages", {}).get("hits", {}).get("hits", [])
    return str(passages[0]["fields"]["text"][0]) if passages else ""


def _fragment_of(hit: dict[str, Any]) -> str:
    """The longest highlighted fragment: the text of a hit that has no vectors."""
    fragments = [fragment for field in hit.get("highlight", {}).values() for fragment in field]
    return re.sub(f"[{''.join(_MARK)}]", "", max(fragments, key=len, default=""))


def _title(hit: dict[str, Any]) -> str:
    source = hit.get("_source") or {}
    return str(source.get("title") or source.get("name") or "")


def _heading(rank: int, hit: dict[str, Any]) -> Text:
    title = _title(hit)
    heading = Text.assemble((f"{rank:>2}  ", "dim"), (title or hit["_id"], "bold"))
    if title and title != hit["_id"]:
        heading.append(f"  {hit['_id']}", style="dim")
    heading.append(f"  {hit['_score']:.4f}", style="green")
    return heading


def matched_words(hits: list[dict[str, Any]]) -> set[str]:
    """The highlighted word forms in lower case, without function words unless all of them are function words."""
    fragments = "\n".join(fragment for hit in hits for field in hit.get("highlight", {}).values() for fragment in field)
    marked = re.findall(f"{_MARK[0]}([^{_MARK[1]}]*){_MARK[1]}", fragments)
    words = {word for text in marked for word in re.findall(r"\w+", text.lower())}
    return words - _STOP_WORDS or words


def _passage(passage: str, matched: set[str]) -> Text:
    """The start of a passage, cut at a word, with the matched words in bold."""
    plain = " ".join(passage.split())
    if len(plain) > _PASSAGE_CHARACTERS:
        plain = plain[:_PASSAGE_CHARACTERS].rsplit(" ", 1)[0] + " …"
    text = Text(plain, style="none")
    for word in re.finditer(r"\w+", plain):
        if word.group().lower() in matched:
            text.stylize("bold", *word.span())
    return text


def _bar(legs: list[dict[str, Any]], top: float) -> Group:
    """Each leg's contribution as a coloured share of the best score, and as a line that derives it."""
    bar, lines = Text(), []
    names = max((len(leg["leg"]) for leg in legs), default=0)
    for leg in legs:
        colour = LEXICAL if leg["leg"] == "lexical" else SEMANTIC if leg["leg"].startswith("semantic") else OTHER
        share = leg["contribution"] / top if top > 0 else 0.0
        bar.append("█" * max(0, round(_BAR_WIDTH * min(1.0, share))), style=colour)
        line = Text(f"{leg['leg']:<{names}} {leg['contribution']:>7.4f}", style=colour)
        lines.append(line.append(_derivation(leg), style="dim"))
    return Group(bar, *lines)


def _derivation(leg: dict[str, Any]) -> str:
    """The product of weight and normalised score, then what the score was made of. It fits a terminal of 80 columns."""
    product = f" = {leg['weight']:g} × {leg['normalized']:.4f}" if {"weight", "normalized"} <= leg.keys() else ""
    if leg.get("rank") is None and leg.get("score") is None:
        return f"{product}  no match"
    facts = [f"rank {leg['rank']}"] if leg.get("rank") is not None else []
    if "dot_product" in leg:
        mean = f", mean {leg['mean']:.4f}" if "mean" in leg else ""
        facts.append(f"dot product {leg['dot_product']:.4f}{mean}")
    elif leg.get("score") is not None:
        facts.append(f"score {leg['score']:.4f}")
    return f"{product}  {', '.join(facts)}"
