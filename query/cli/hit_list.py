"""Draws the hits of a search for a terminal: rank, title, id, the matching passage, and what each leg contributes."""

import re
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

LEXICAL, SEMANTIC = "yellow", "cyan"
"""Colours of the two legs."""
_BAR_WIDTH = 40
_PASSAGE_CHARACTERS = 320
_FIGURES = {
    "weight": "weight", "normalized": "normalised score", "rank": "rank", "score": "raw score", "dot_product": "dot product",
    "mean": "mean",
}  # fmt: skip


def hit_list(
    hits: list[dict[str, Any]], question: str, explanations: Sequence[dict[str, Any] | None] | None = None
) -> Group:
    """The hits in rank order. `explanations`, in the same order, add a bar per hit in two colours, one for each leg, and the
    figures."""
    top = max((hit["_score"] or 0.0 for hit in hits), default=0.0)
    parts: list[RenderableType] = []
    for rank, hit in enumerate(hits, start=1):
        parts.append(_heading(rank, hit))
        if passage := passage_of(hit):
            parts.append(Padding(_passage(passage, question), (0, 0, 0, 4)))
        explained = explanations[rank - 1] if explanations else None
        if explained is not None:
            parts.append(Padding(_bar(explained["legs"], top), (0, 0, 0, 4)))
        parts.append(Text())
    return Group(*parts[:-1])


def passage_of(hit: dict[str, Any]) -> str:
    """The text of a hit's best passage; empty when the semantic leg did not match."""
    passages = hit.get("inner_hits", {}).get("passages", {}).get("hits", {}).get("hits", [])
    return str(passages[0]["fields"]["text"][0]) if passages else ""


def _heading(rank: int, hit: dict[str, Any]) -> Text:
    source = hit.get("_source") or {}
    title = str(source.get("title") or source.get("name") or "")
    heading = Text(f"{rank:>2}  ", style="dim")
    heading.append(title or hit["_id"], style="bold")
    if title and title != hit["_id"]:
        heading.append(f"  {hit['_id']}", style="dim")
    heading.append(f"  {hit['_score']:.4f}", style="green")
    return heading


def _passage(passage: str, question: str) -> Text:
    """The start of a passage, cut at a word, with the words of the question in bold."""
    plain = " ".join(passage.split())
    if len(plain) > _PASSAGE_CHARACTERS:
        plain = plain[:_PASSAGE_CHARACTERS].rsplit(" ", 1)[0] + " …"
    text = Text(plain, style="none")
    for word in set(re.findall(r"\w{3,}", question.lower())):
        text.highlight_regex(rf"(?i)\b{re.escape(word)}\w*", "bold")
    return text


def _bar(legs: list[dict[str, Any]], top: float) -> Group:
    """Each leg's contribution as a coloured share of the best score, and as a line of figures."""
    bar, lines = Text(), []
    for position, leg in enumerate(legs):
        colour = (LEXICAL, SEMANTIC)[position] if position < 2 else "magenta"
        share = leg["contribution"] / top if top > 0 else 0.0
        bar.append("█" * max(0, round(_BAR_WIDTH * min(1.0, share))), style=colour)
        line = Text(f"{leg['contribution']:.4f} ", style=colour)
        line.append(leg["leg"])
        figures = "  ".join(f"{label} {round(leg[key], 4):g}" for key, label in _FIGURES.items() if key in leg)
        lines.append(line.append(f"  {figures}", style="dim"))
    return Group(bar, *lines)
