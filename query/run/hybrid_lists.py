"""The ranked lists of a `hybrid` search, and their calibration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mappings.mean_vectors import MeanVector, combine
from query.fusion.normalizers import Calibration
from query.fusion.ranked_lists import Key, Scores
from query.plan.knn import Vector
from query.plan.similarity import calibration_of
from query.targets.target import Target


@dataclass(frozen=True)
class HybridLegs:
    """The legs' ranked lists by name, the lexical leg first."""

    lists: dict[str, Scores]
    nearest: list[Key]
    """The semantic leg's own hits."""
    vector: Vector | None
    """The query vector; None if no semantic leg was sent, or if it failed."""
    weights: Mapping[str, float]
    """The weights of the legs; 0 for semantic legs that failed."""
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    """Calibrations by index."""
    total: dict[str, Any] | None = None
    """`hits.total` over all legs; None if the legs' responses do not include it."""
    matched: dict[str, Any] | None = None
    """`hits.total` of the lexical leg alone, if it was counted."""
    failed: bool = False
    mean: MeanVector | None = None
    """The mean vector behind the calibrations."""


def calibrated(legs: HybridLegs, target: Target, vector: Vector, mean: MeanVector | None) -> HybridLegs:
    calibration = calibration_of(target.attachment.generation.vector.similarity, vector, mean)
    return replace(legs, calibrations=dict.fromkeys(target.indices, calibration), mean=mean)


def shared_calibrations(targets: Sequence[Target], legs_by_target: Sequence[HybridLegs]) -> dict[str, Calibration]:
    """Calibrations by index. Indices whose vectors come from one model form one corpus and share its mean: the mean of an index
    with few documents is little more than these documents."""
    calibrations: dict[str, Calibration] = {}
    for target, legs in zip(targets, legs_by_target, strict=True):
        if not legs.calibrations or legs.vector is None:
            continue
        generation = target.attachment.generation
        means = [
            other.mean
            for other_target, other in zip(targets, legs_by_target, strict=True)
            if other.mean is not None
            and other_target.attachment.generation.searched_by.digest == generation.searched_by.digest
            and other_target.attachment.generation.form == generation.form
        ]
        calibration = calibration_of(generation.vector.similarity, legs.vector, combine(means))
        calibrations |= dict.fromkeys(legs.calibrations, calibration)
    return calibrations
