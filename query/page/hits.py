"""From fused candidates and fetched documents to the hits that the caller sees."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from query.fusion.ranked_lists import FusedHit, Key
from query.language.tree import Search, sort_names


def key_of(hit: Mapping[str, Any]) -> Key:
    return Key(hit["_index"], hit["_id"])


def fused_page(page: Sequence[FusedHit], response: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The fetched hits in fused order with their fused scores. A document that was deleted since the ranking is left out."""
    fetched = {key_of(hit): hit for hit in response["hits"]["hits"]}
    return [{**fetched[fused.key], "_score": fused.score} for fused in page if fused.key in fetched]


@dataclass(frozen=True)
class TiedPage:
    """The hits of a page and all that tie with its first or last hit. `skip`: how many come before the page."""

    hits: Sequence[FusedHit]
    skip: int

    @property
    def positions(self) -> dict[Key, int]:
        """Scores by which Elasticsearch finds the hits of the page: 3 for ties of the best score, 1 for ties of the lowest, 2
        for the hits between, which are all on the page. A query needs a clause for each distinct score."""
        best, lowest = self.hits[0].score, self.hits[-1].score
        return {hit.key: 3 if hit.score == best else 1 if hit.score == lowest else 2 for hit in self.hits}

    def in_order_of(self, keys: Sequence[Key]) -> list[FusedHit]:
        """The hits of a response in fused order: by score, and equal scores in the order of the response."""
        by_key = {hit.key: hit for hit in self.hits}
        return sorted((by_key[key] for key in keys), key=lambda hit: -hit.score)


def with_ties(fused: Sequence[FusedHit], first: int, end: int) -> TiedPage | None:
    """The page from `first` to `end` with all hits that tie with one of its hits; None when no scores are equal."""
    if first >= end:
        return None
    low, high = first, end
    while low > 0 and fused[low - 1].score == fused[first].score:
        low -= 1
    while high < len(fused) and fused[high].score == fused[end - 1].score:
        high += 1
    hits = fused[low:high]
    return TiedPage(hits, first - low) if len({hit.score for hit in hits}) < len(hits) else None


def every_hit(hits: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The hits with the hits of their groups (`collapse.inner_hits`), which are documents as well."""
    for hit in hits:
        yield hit
        for group in _groups(hit):
            yield from every_hit(group["hits"])


def _groups(hit: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The inner hits that are documents, and not parts of the hit."""
    inner = [group["hits"] for group in (hit.get("inner_hits") or {}).values()]
    return [group for group in inner if group["hits"] and "_nested" not in group["hits"][0]]


def _group_options(collapse: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The options of each kind of groups, by its name."""
    given = collapse.get("inner_hits") or []
    kinds = given if isinstance(given, list) else [given]
    return {options.get("name", collapse["field"]): options for options in kinds}


def _scores_by_position(fused: Mapping[Key, FusedHit], positions: Mapping[Key, float]) -> dict[float | None, float]:
    """Elasticsearch's scores are 32-bit floats, written with as few digits as possible."""
    return {float(str(np.float32(position))): fused[key].score for key, position in positions.items() if key in fused}


def show_fused_scores(
    hits: Sequence[dict[str, Any]], fused: Mapping[Key, FusedHit], positions: Mapping[Key, float], search: Search
) -> None:
    """Replace the positions by which Elasticsearch sorted or collapsed with fused scores, also in groups, in place."""
    if not hits:  # Elasticsearch has not checked the options of groups then
        return
    groups = _group_options(search.collapse or {})
    scores = _scores_by_position(fused, positions) if groups else {}
    for hit in every_hit(hits):
        candidate = fused.get(key_of(hit))
        if candidate is not None and hit.get("_score") is not None:  # inner hits with a sort have no score
            hit["_score"] = candidate.score
    for hit in hits:
        for name, options in groups.items():
            if name not in (hit.get("inner_hits") or ()):
                continue
            group = hit["inner_hits"][name]["hits"]
            # The best hit of a group is not always shown: `inner_hits` has a `from` and a `sort`.
            group["max_score"] = scores.get(group["max_score"], group["max_score"])
            for inner in group["hits"]:
                _show_fused_sort(inner, sort_names(options.get("sort", [])), fused)
    for hit in hits:
        _show_fused_sort(hit, search.sort_keys, fused)


def _show_fused_sort(hit: dict[str, Any], keys: Sequence[str], fused: Mapping[Key, FusedHit]) -> None:
    candidate = fused.get(key_of(hit))
    for position, key in enumerate(keys):
        if key == "_score" and candidate is not None and position < len(hit.get("sort", [])):
            hit["sort"][position] = candidate.score
