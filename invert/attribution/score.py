"""Scores: one number of an evidence vector, the lower the more like the network's own images."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from invert.attribution.evidence import FEATURES
from invert.statistics.checks import FloatArray

__all__ = ["SCORE_NAMES", "EvidenceScore", "axis_label", "lpips_score", "shown_value"]

SCORE_NAMES = {"lpips": "LPIPS distance", "evidence": "evidence score"}
"""What people call each of `invert.attribution.settings.SCORES`."""

Evidence = Mapping[str, float]

_INVERSE_PENALTY = 1.0  # on the weights of features of variance one
_AT_THE_RIM = 3.0  # the same where the score is fitted there
_RIM = 0.02  # share of the others that lies beyond it
_RIM_WIDTH = 2.0  # log odds over which others count less by a factor of e
_ROUNDS = 3
_LARGEST = 8.0  # deviations; what is further off counts as this far


def lpips_score(evidence: Evidence) -> float:
    """Return the score of the StyleGAN2 paper: the logarithm of the distance."""
    return evidence["lpips"]


def shown_value(score: str, value: float) -> float:
    """Return a score as people know it: LPIPS as the distance, of which the score is the logarithm."""
    return math.exp(min(value, 100.0)) if score == "lpips" else value


def axis_label(score: str) -> str:
    """Return the label of an axis of `shown_value`."""
    return SCORE_NAMES[score] if score == "lpips" else f"{SCORE_NAMES[score]}, lower is more like the network"


def _nearness(scores: FloatArray, labels: FloatArray, weights: FloatArray) -> FloatArray:
    """Return by how much each image counts more: others by how near they are to the rim, all of them as much as before.

    Args:
        scores: `[n]`, lower is more like the network's own.
        labels: `[n]`, 1 for own images and 0 for others.
        weights: `[n]`, by how much each counted.
    """
    others = labels == 0
    beyond = np.maximum(scores - np.quantile(scores[others], _RIM), 0)
    near = np.where(others, np.exp(-beyond / _RIM_WIDTH), 1.0)
    near[others] *= weights[others].sum() / (weights[others] * near[others]).sum()
    return near


@dataclass(frozen=True)
class EvidenceScore:
    """A logistic regression on the evidence, turned so that lower is more like the network's own.

    Args:
        features: Names of the features that it uses.
        means: Means that these are standardised by.
        deviations: Standard deviations that they are standardised by.
        weights: Weights of the standardised features in the log odds.
        intercept: Constant term of the log odds.
    """

    features: tuple[str, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float

    @classmethod
    def fit(
        cls,
        positives: Sequence[Evidence],
        negatives: Mapping[str, Sequence[Evidence]],
        features: Sequence[str] = tuple(FEATURES),
        *,
        at_the_rim: bool = False,
    ) -> Self:
        """Fit on the network's own images and on populations of others, which count the same, each as a whole.

        Args:
            positives: Evidence of each of the network's own images.
            negatives: Evidence of each image of the other populations, by name.
            features: Names of the features to use; one that is not finite somewhere, or constant, is left out.
            at_the_rim: Let those of the others count most that measure most like the network's own: a threshold lies
                there, and how the others are ordered that are far off changes no verdict.
        """
        from sklearn.linear_model import LogisticRegression

        groups = [positives, *negatives.values()]
        rows = [evidence for group in groups for evidence in group]
        table = np.array([[evidence[name] for name in features] for evidence in rows], np.float64)
        finite = np.isfinite(table).all(axis=0)
        usable = finite & (np.where(finite, table, 0.0).std(axis=0) > 1e-9)
        table = table[:, usable]
        means, deviations = table.mean(axis=0), table.std(axis=0)
        labels = np.concatenate([np.ones(len(positives)), np.zeros(len(rows) - len(positives))])
        # The own images weigh as much as all others together, and each population of others as much as the next.
        shares = [1.0, *[1.0 / len(negatives)] * len(negatives)]
        weights = np.concatenate(
            [[share / len(group)] * len(group) for share, group in zip(shares, groups, strict=True)]
        )
        table, weights = (table - means) / deviations, weights * len(rows) / 2
        model = LogisticRegression(C=_AT_THE_RIM if at_the_rim else _INVERSE_PENALTY, max_iter=10_000)
        model.fit(table, labels, sample_weight=weights)
        for _ in range(_ROUNDS - 1 if at_the_rim else 0):
            model.fit(
                table, labels, sample_weight=weights * _nearness(-model.decision_function(table), labels, weights)
            )
        names = tuple(np.array(features)[usable].tolist())
        return cls(
            names,
            tuple(means.tolist()),
            tuple(deviations.tolist()),
            tuple(model.coef_[0].tolist()),
            float(model.intercept_[0]),
        )

    def __call__(self, evidence: Evidence) -> float:
        """Return minus the log odds; NaN where a feature is not finite."""
        values = np.array([evidence[name] for name in self.features], np.float64)
        standardised = np.clip((values - self.means) / self.deviations, -_LARGEST, _LARGEST)
        return -float(standardised @ np.array(self.weights) + self.intercept)

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON types."""
        columns = zip(self.features, self.means, self.deviations, self.weights, strict=True)
        rows = {name: {"mean": mean, "deviation": spread, "weight": weight} for name, mean, spread, weight in columns}
        return {"features": rows, "intercept": self.intercept}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read it back.

        Raises:
            ValueError, KeyError, TypeError: It is no such record.
        """
        rows = record["features"]
        if not set(rows) <= set(FEATURES):
            raise ValueError("unknown features")
        columns = [tuple(float(row[key]) for row in rows.values()) for key in ("mean", "deviation", "weight")]
        score = cls(tuple(rows), columns[0], columns[1], columns[2], float(record["intercept"]))
        finite = np.isfinite([*score.means, *score.deviations, *score.weights, score.intercept]).all()
        if not finite or min(score.deviations, default=1) <= 0:
            raise ValueError("numbers that cannot be")
        return score
