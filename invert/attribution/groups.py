"""Groups of images by what was found to have happened to them, and one measure for the scores of all.

A network's own images and others measure otherwise after a blur than after none. Within a group a score s becomes

    s' = (s - a) / (b - a)      a: median of the own images of the group;  b: a low quantile of the others of it

so that 0 is like the network's own and 1 like the most own-like of the others. One threshold of s' serves all groups;
in each of them it is a threshold of its own, a + s' (b - a), in units of the score.

a and b come from the images that fit the score, and so does which groups are offered at all: those that own images are
found in. To the images that set the threshold s' is a number like any other, and no promise depends on how well groups
are found or measured.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

from invert.attribution.explained import group_text
from invert.statistics.checks import FloatArray

__all__ = ["CEILING", "Groups", "Scale"]

CEILING = 10.0
"""Standardised score of an image that cannot be attributed, and the largest of those that can."""

_LEAST = 3  # images that it takes to say where own ones, or others, of a group measure


@dataclass(frozen=True)
class Scale:
    """Where own images of a group, and others, measure.

    Attributes:
        own: Median score of the own images.
        others: Low quantile of the others; where they are too few, what it would be at the usual distance.
        own_images: How many own images say so.
        other_images: How many others.
        is_offered: Whether images of the group are judged.
    """

    own: float
    others: float
    own_images: int
    other_images: int
    is_offered: bool = True

    def standard(self, score: FloatArray) -> FloatArray:
        """Return standardised scores."""
        return np.asarray(np.minimum((score - self.own) / (self.others - self.own), CEILING))

    def score(self, standard: float) -> float:
        """Return the score that a standardised one stands for."""
        return self.own + standard * (self.others - self.own)


@dataclass(frozen=True)
class Scored:
    """The images of one population that fit the score.

    Args:
        groups: Group of each.
        scores: Score of each, finite `[n]`.
    """

    groups: npt.NDArray[np.str_]
    scores: FloatArray

    def of(self, group: str) -> FloatArray:
        """Return the scores of a group."""
        found: FloatArray = self.scores[self.groups == group]
        return found


@dataclass(frozen=True)
class Groups:
    """The groups of a calibration under one score. Made by `fit`.

    Attributes:
        scales: What is known of each group that was found often enough.
    """

    scales: Mapping[str, Scale] = field(default_factory=dict)

    @classmethod
    def fit(cls, own: Sequence[Scored], others: Sequence[Scored], rate: float) -> Self:
        """Find out what each group's images measure, and which groups to offer.

        Args:
            own: Own images after each processing.
            others: Other populations after each processing.
            rate: Rate of false attributions that is to be promised, in (0, 1): which quantile is a low one.
        """
        seen = {str(name) for one in own for name in one.groups}
        pooled = {name: [np.concatenate([one.of(name) for one in part]) for part in (own, others)] for name in seen}
        pooled = {name: found for name, found in sorted(pooled.items()) if len(found[0]) >= _LEAST}
        centres = {name: float(np.median(ours)) for name, (ours, _) in pooled.items()}
        low = {name: float(np.quantile(theirs, rate)) for name, (_, theirs) in pooled.items() if len(theirs) >= _LEAST}
        gaps = [limit - centres[name] for name, limit in low.items() if limit > centres[name]]
        # Where others are hardly ever found, nothing more is known than how far they are in the other groups.
        usual = float(np.median(gaps)) if gaps else _gap(own, others, rate)
        scales = {}
        for name, (ours, theirs) in pooled.items():
            limit = low.get(name, centres[name] + usual)
            scales[name] = Scale(centres[name], limit, len(ours), len(theirs), is_offered=centres[name] < limit)
        offered = _worth_offering({name: one for name, one in scales.items() if one.is_offered}, own, others, rate)
        return cls({name: dataclasses.replace(one, is_offered=name in offered) for name, one in scales.items()})

    def standard(self, group: str, score: float) -> float:
        """Return the standardised score of an image: `CEILING` where its group is not offered."""
        scale = self.scales.get(group)
        if scale is None or not scale.is_offered:
            return CEILING if np.isfinite(score) else float("nan")
        return float(scale.standard(np.array(score)))

    def refusal(self, group: str) -> str:
        """Say why images of a group are not judged; nothing where they are."""
        scale, text = self.scales.get(group), group_text(group)
        if scale is None:
            return f"nothing in the calibration was processed like this (found: {text})"
        if not scale.is_offered:
            return f"after such processing (found: {text}) its own images and others measure too much alike"
        return ""


def _gap(own: Sequence[Scored], others: Sequence[Scored], rate: float) -> float:
    """Return by how much others measure higher than own images, all groups together."""
    ours, theirs = (np.concatenate([one.scores for one in part]) for part in (own, others))
    return float(np.quantile(theirs, rate) - np.median(ours)) if len(ours) and len(theirs) else 0.0


def _worth_offering(
    scales: Mapping[str, Scale], own: Sequence[Scored], others: Sequence[Scored], rate: float
) -> set[str]:
    """Leave out groups one by one as long as more own images are found without them.

    The threshold is one for all groups, and a group in which own images and others are hardly told apart lowers it for
    all of them.
    """
    numbers = {name: place for place, name in enumerate(scales)}
    ours, theirs = ([_standardised(one, scales, numbers) for one in part if len(one.scores)] for part in (own, others))
    offered = np.ones(len(scales), np.bool_)
    found = _found(ours, theirs, offered, rate)
    while offered.sum() > 1:
        without = []
        for place in range(len(offered)):
            if offered[place]:
                fewer = offered.copy()
                fewer[place] = False
                without.append((_found(ours, theirs, fewer, rate), -place))
        best, place = max(without)
        if best <= found:
            break
        found, offered[-place] = best, False
    return {name for name, place in numbers.items() if offered[place]}


def _standardised(
    one: Scored, scales: Mapping[str, Scale], numbers: Mapping[str, int]
) -> tuple[npt.NDArray[np.intp], FloatArray]:
    """Return the number of each image's group, -1 for none that can be offered, and its standardised score."""
    places, values = np.full(len(one.scores), -1), np.full(len(one.scores), CEILING)
    for name, place in numbers.items():
        chosen = one.groups == name
        places[chosen], values[chosen] = place, scales[name].standard(one.scores[chosen])
    return places, values


def _found(
    own: Sequence[tuple[npt.NDArray[np.intp], FloatArray]],
    others: Sequence[tuple[npt.NDArray[np.intp], FloatArray]],
    offered: npt.NDArray[np.bool_],
    rate: float,
) -> float:
    """Return the share of own images that a threshold finds which keeps the rate on these very others."""
    known = np.append(offered, False)  # -1 is the last
    limit = CEILING
    for places, values in others:
        rank = max(1, int(rate * len(values)))
        limit = min(limit, float(np.partition(np.where(known[places], values, CEILING), rank - 1)[rank - 1]))
    return float(np.mean([np.mean(known[places] & (values < limit)) for places, values in own]))
