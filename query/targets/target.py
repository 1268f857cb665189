"""The indices of a search, and what their mappings say."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from esblend.wildcards import matching
from mappings.attachment import Attachment


@dataclass(frozen=True)
class Target:
    """Concrete indices of a search that share one attachment."""

    indices: tuple[str, ...]
    attachment: Attachment
    analyzers: tuple[dict[str, str], ...]
    """Per index, the search analyzer of each text field."""
    uuids: tuple[str, ...] = ()
    """The UUIDs of the indices, in the same order."""
    fields: frozenset[str] = frozenset()
    """The names of all fields of any of the indices, without objects and fields of nested objects."""
    can_search_numbers: bool = False
    """Whether the search reaches one index with one shard whose documents can be searched by `_seq_no`."""
    unattached: tuple[str, ...] = ()
    """Further indices of the search that have no attachment yet, as after a rollover. Only BM25 finds their documents."""

    def unknown_fields(self, fields: Sequence[str]) -> list[str]:
        """The `fields` (boosts and wildcards allowed) that no index has."""
        names = [field.partition("^")[0] for field in fields]
        return [name for name in names if name not in self.fields and not ("*" in name and matching(name, self.fields))]

    def expanded(self, fields: Sequence[str]) -> list[str]:
        """`fields` with each wildcard replaced by the text fields that it matches, without multi-fields. Boosts are kept."""
        texts = sorted({name for analyzers in self.analyzers for name in analyzers})
        expanded: dict[str, None] = {}
        for field in fields:
            pattern, caret, boost = field.partition("^")
            names = matching(pattern, texts) if "*" in pattern else []
            expanded |= dict.fromkeys(name + caret + boost for name in names or [pattern])
        return list(expanded)

    def share_analyzer(self, fields: Sequence[str]) -> bool:
        """Whether `fields` (boosts allowed) exist in every index with the same search analyzer."""
        names = [field.partition("^")[0] for field in fields]
        return all(len({analyzers.get(name, name) for name in names}) == 1 for analyzers in self.analyzers)

    def using(self, generation: str) -> "Target":
        """The same target with another generation. Raises InvalidRequest on an unknown name."""
        return replace(self, attachment=self.attachment.using(generation))

    def with_profile(self, profile: str) -> "Target":
        """The same target with the query defaults of a profile. Raises InvalidRequest on an unknown name."""
        return replace(self, attachment=self.attachment.with_profile(profile))
