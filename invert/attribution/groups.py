"""Groups of images by what was found to have happened to them: which of them are judged.

One score, which knows what happened (see `invert.attribution.evidence`), and one threshold of it serve all groups. An
image of a group that is not judged counts as one that cannot be attributed, whatever it measures.

Which groups are judged comes from the images that fit the score: those that own images are found in. To the images that
set the threshold that is a rule like any other, and no promise depends on how well groups are found.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

from invert.attribution.explained import group_text
from invert.statistics.checks import FloatArray

__all__ = ["CEILING", "Group", "Groups", "Scored"]

CEILING = 20.0
"""Score of an image that cannot be attributed, and the largest of those that can: log odds beyond tell nothing more."""

_LEAST = 3  # own images that it takes to judge a group


@dataclass(frozen=True)
class Group:
    """What is known of a group.

    Attributes:
        own_images: How many own images were found in it.
        other_images: How many others.
        is_judged: Whether its images are judged.
    """

    own_images: int
    other_images: int
    is_judged: bool


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
        found: What is known of each group that enough own images were found in.
    """

    found: Mapping[str, Group] = field(default_factory=dict)

    @classmethod
    def fit(cls, own: Sequence[Scored], others: Sequence[Scored], rate: float) -> Self:
        """Find out which groups to judge.

        Args:
            own: Own images after each processing.
            others: Other populations after each processing.
            rate: Rate of false attributions that is to be promised, in (0, 1).
        """
        names = sorted({str(name) for one in own for name in one.groups})
        counts = {name: [sum(len(one.of(name)) for one in part) for part in (own, others)] for name in names}
        counts = {name: found for name, found in counts.items() if found[0] >= _LEAST}
        judged = _worth_judging(list(counts), own, others, rate)
        return cls({name: Group(ours, theirs, name in judged) for name, (ours, theirs) in counts.items()})

    def compared(self, group: str, score: float) -> float:
        """Return the score of an image as it is compared: `CEILING` where its group is not judged."""
        known = self.found.get(group)
        if known is None or not known.is_judged:
            return CEILING if np.isfinite(score) else float("nan")
        return min(score, CEILING)

    def refusal(self, group: str) -> str:
        """Say why images of a group are not judged; nothing where they are."""
        known, text = self.found.get(group), group_text(group)
        if known is None:
            return f"nothing in the calibration was processed like this (found: {text})"
        if not known.is_judged:
            return f"after such processing (found: {text}) its own images and others measure too much alike"
        return ""


def _worth_judging(names: Sequence[str], own: Sequence[Scored], others: Sequence[Scored], rate: float) -> set[str]:
    """Leave out groups one by one as long as more own images are found without them.

    The threshold is one for all groups, and a group in which own images and others are hardly told apart lowers it for
    all of them.
    """
    numbers = {name: place for place, name in enumerate(names)}
    ours, theirs = ([_numbered(one, numbers) for one in part if len(one.scores)] for part in (own, others))
    judged = np.ones(len(numbers), np.bool_)
    found = _found(ours, theirs, judged, rate)
    while judged.sum() > 1:
        without = []
        for place in range(len(judged)):
            if judged[place]:
                fewer = judged.copy()
                fewer[place] = False
                without.append((_found(ours, theirs, fewer, rate), -place))
        best, place = max(without)
        if best <= found:
            break
        found, judged[-place] = best, False
    return {name for name, place in numbers.items() if judged[place]}


def _numbered(one: Scored, numbers: Mapping[str, int]) -> tuple[npt.NDArray[np.intp], FloatArray]:
    """Return the number of each image's group, -1 for none that can be judged, and its score."""
    places = np.array([numbers.get(str(name), -1) for name in one.groups], np.intp)
    return places, np.minimum(one.scores, CEILING)


def _found(
    own: Sequence[tuple[npt.NDArray[np.intp], FloatArray]],
    others: Sequence[tuple[npt.NDArray[np.intp], FloatArray]],
    judged: npt.NDArray[np.bool_],
    rate: float,
) -> float:
    """Return the share of own images that a threshold finds which keeps the rate on these very others."""
    known = np.append(judged, False)  # -1 is the last
    limit = CEILING
    for places, values in others:
        rank = max(1, int(rate * len(values)))
        limit = min(limit, float(np.partition(np.where(known[places], values, CEILING), rank - 1)[rank - 1]))
    return float(np.mean([np.mean(known[places] & (values < limit)) for places, values in own]))
