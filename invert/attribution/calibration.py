"""What a network's own images and others measure, and the thresholds that follow: a calibration.

Everything is derived from the raw measurements of named populations, so that another rate, or another rule, needs no
new projections. Scores are lower for what is more like the network's own images.

A population is of one origin, after one processing. Where the method finds out what happened to an image, the score
knows it, and images of some groups are not judged; see `invert.attribution.groups`. One threshold, the strictest of all
populations, serves all of them, and therefore holds for all of them together: whichever population
exceeds the rate at it, so does the one of all populations whose true quantile is the lowest, and with the stated
confidence the threshold that was set on that one does not. It takes no more images to promise the rate for many
processings than for one.

Reference: Tong, Feng and Li 2018 (Neyman-Pearson thresholds); see `invert.statistics`.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from invert.attribution.evidence import FEATURES
from invert.attribution.explained import group_text
from invert.attribution.groups import Groups, Scored
from invert.attribution.kind import PopulationKind
from invert.attribution.measurements import Measurement
from invert.attribution.score import EvidenceScore, lpips_score
from invert.attribution.settings import OWN, CalibrationSettings
from invert.attribution.sizes import check_sizes, too_few
from invert.attribution.splits import Population, divide
from invert.errors import UsageError
from invert.projection.records import method_digest
from invert.statistics.bins import Bins
from invert.statistics.checks import FloatArray
from invert.statistics.likelihood import LikelihoodRatio
from invert.statistics.thresholds import (
    Threshold,
    TooFewNegativesError,
    conformal,
    grubbs,
    neyman_pearson,
    smallest_rate,
    strictest,
)

__all__ = [
    "Calibration",
    "fit_evidence",
    "make_calibration",
]


@dataclass(frozen=True)
class Calibration:
    """A calibration of one network under one method.

    Args:
        settings: How it decides.
        method: Method record of the measurements; see `invert.attribution.measurements.attribution_method`.
        run: Run record of the measurements.
        network: sha256, weights_sha256, family and resolution of the network.
        tool: Version of this program.
        owns: The network's own samples after each processing, at least one; all are divided, see `divide`.
        others: Populations of other images, at least one after each processing.
        evidence: The fitted score.
    """

    settings: CalibrationSettings
    method: Mapping[str, Any]
    run: Mapping[str, Any]
    network: Mapping[str, Any]
    tool: str
    owns: tuple[Population, ...]
    others: tuple[Population, ...]
    evidence: EvidenceScore

    @property
    def digest(self) -> str:
        """Digest of method and score; scores of calibrations with the same digest can be compared."""
        return method_digest({**self.method, "score": self.settings.score})

    @property
    def own(self) -> Population:
        """The network's own samples after the first processing: none, unless the user left that out."""
        return self.owns[0]

    @property
    def populations(self) -> tuple[Population, ...]:
        """All populations, the network's own first."""
        return (*self.owns, *self.others)

    @cached_property
    def processings(self) -> Mapping[str, tuple[Population, ...]]:
        """The populations after each processing."""
        found: dict[str, tuple[Population, ...]] = {one.processing: () for one in self.owns}
        for one in self.populations:
            found[one.processing] = (*found.get(one.processing, ()), one)
        return found

    @cached_property
    def has_groups(self) -> bool:
        """Whether its method finds out what happened to images."""
        return any(one.group for population in self.populations for one in population.measurements)

    @cached_property
    def kinds(self) -> Mapping[str, PopulationKind]:
        """Kind of the images of each population, by label."""
        return {one.label: one.kind_in(self.network["resolution"]) for one in self.populations}

    def unlike_own(self) -> Iterator[str]:
        """Yield what should be known of populations whose files are unlike the network's own: a score may see that."""
        for one in self.owns:
            own = self.kinds[one.label]
            for other in self.processings[one.processing]:
                kind = self.kinds[other.label]
                if (set(kind.formats), kind.qualities is None) != (set(own.formats), own.qualities is None):
                    yield (
                        f"images of {other.label} are of another kind ({kind.text}) than the network's own "
                        f"({own.text}): the thresholds may tell files apart, not networks. Give images that were "
                        "stored alike"
                    )

    def unjudged(self) -> str:
        """Say how many own images are found in groups that are not judged; nothing where none is."""
        if not self.has_groups:
            return ""
        groups, images = self.groups(self.settings.score), [one for own in self.owns for one in own.measurements]
        found = Counter(one.group for one in images if groups.refusal(one.group))
        listed = ", ".join(f"{group_text(group)} ({count})" for group, count in sorted(found.items()))
        why = "are in groups that are not judged, for too few images or because others measure alike"
        return f"{found.total()} of {len(images)} own images {why}: {listed}" if found else ""

    def score(self, name: str, measurement: Measurement) -> float:
        """Return a score of an image; NaN where a number is missing."""
        return lpips_score(measurement.evidence) if name == "lpips" else self.evidence(measurement.evidence)

    def groups(self, name: str) -> Groups:
        """Return the groups that are judged by a score."""
        if name not in self._groups:
            own, others = ([self._scored(name, one) for one in part] for part in (self.owns, self.others))
            self._groups[name] = Groups.fit(own, others, self.settings.rate)
        return self._groups[name]

    @cached_property
    def _groups(self) -> dict[str, Groups]:
        return {}

    def _scored(self, name: str, population: Population) -> Scored:
        found = [(one.group, self.score(name, one)) for one in population.part("fit")]
        known = [(group, score) for group, score in found if math.isfinite(score)]
        return Scored(np.array([group for group, _ in known], np.str_), np.array([score for _, score in known]))

    def compared(self, name: str, measurement: Measurement) -> float:
        """Return the score of an image as it is compared: that of an image which cannot be attributed is `CEILING`."""
        score = self.score(name, measurement)
        return self.groups(name).compared(measurement.group, score) if self.has_groups else score

    def scores(self, name: str, population: Population, split: str) -> FloatArray:
        """Return the scores of a part of a population as they are compared, see `compared`, `[n]`."""
        key = (name, population.label, split)
        if key not in self._scores:
            self._scores[key] = np.array([self.compared(name, one) for one in population.part(split)], np.float64)
        return self._scores[key]

    def own_scores(self, name: str, split: str) -> FloatArray:
        """Return the scores of a part of the own images, after all processings, as they are compared, `[n]`."""
        return np.concatenate([self.scores(name, one, split) for one in self.owns])

    def own_like(self, name: str, group: str) -> Iterator[tuple[FloatArray, int]]:
        """Yield, after each processing, the scores of a group's own images that set thresholds, and of how many."""
        for one in self.owns:
            yield self._alike(name, one, group), len(one.part("threshold"))

    def others_like(self, name: str, group: str) -> FloatArray:
        """Return the scores of a group's images of others that set thresholds, whatever happened to them, `[n]`."""
        return np.concatenate([self._alike(name, one, group) for one in self.others])

    def _alike(self, name: str, population: Population, group: str) -> FloatArray:
        key = (name, population.label, group)
        if key not in self._of_groups:
            images = population.part("threshold")
            chosen = np.array([not self.has_groups or image.group == group for image in images], np.bool_)
            self._of_groups[key] = self.scores(name, population, "threshold")[chosen]
        return self._of_groups[key]

    @cached_property
    def _of_groups(self) -> dict[tuple[str, str, str], FloatArray]:
        return {}

    @cached_property
    def _scores(self) -> dict[tuple[str, str, str], FloatArray]:
        return {}

    @cached_property
    def bins(self) -> Bins:
        """Bins of complexity, cut at the quantiles of the others' images."""
        return Bins.fit([one.complexity for p in self.others for one in p.part("threshold")], self.settings.bins)

    @cached_property
    def complexity_range(self) -> tuple[float, float]:
        """Smallest and largest complexity of all its images."""
        values = [one.complexity for population in self.populations for one in population.measurements]
        return min(values), max(values)

    def negatives(self, name: str, complexity: float) -> dict[str, FloatArray]:
        """Return the others' scores that an image of this complexity is compared with, by population."""
        return self._in_bin(name, int(self.bins.index(complexity)))

    def _in_bin(self, name: str, index: int) -> dict[str, FloatArray]:
        key = (name, index)
        if key not in self._binned:
            self._binned[key] = {}
            for population in self.others:
                where = self.bins.index([one.complexity for one in population.part("threshold")])
                self._binned[key][population.label] = self.scores(name, population, "threshold")[where == index]
        return self._binned[key]

    @cached_property
    def _binned(self) -> dict[tuple[str, int], dict[str, FloatArray]]:
        return {}

    def threshold(self, name: str, complexity: float, rate: float | None = None) -> tuple[str, Threshold]:
        """Return the strictest threshold among those of the single populations, and whose it is.

        Args:
            name: Name of the score.
            complexity: Complexity of the image.
            rate: Rate of false attributions, in (0, 1); default that of the settings, shared among its candidates.

        Raises:
            TooFewNegativesError: A population is too small to promise it.
        """
        return self.bin_threshold(name, int(self.bins.index(complexity)), rate)

    def bin_threshold(self, name: str, index: int, rate: float | None = None) -> tuple[str, Threshold]:
        """Return the threshold of a bin of complexity; see `threshold`."""
        rate = self.settings.rate / self.settings.candidates if rate is None else rate
        key = (name, index, rate)
        if key not in self._thresholds:
            rule = self._rule(name, rate)
            found = {p: rule(scores) for p, scores in self._in_bin(name, index).items()}
            self._thresholds[key] = strictest(found)
        return self._thresholds[key]

    @cached_property
    def _thresholds(self) -> dict[tuple[str, int, float], tuple[str, Threshold]]:
        return {}

    def _rule(self, name: str, rate: float) -> Callable[[FloatArray], Threshold]:
        match self.settings.rule:
            case "conformal":
                return lambda scores: conformal(scores, rate)
            case "grubbs":
                return lambda _: grubbs(self.own_scores(name, "threshold"))
            case _:
                return lambda scores: neyman_pearson(scores, rate, self.settings.confidence)

    def ratio(self, name: str, scores: ArrayLike) -> FloatArray:
        """Return the likelihood ratio of scores as they are compared: the smallest over the other populations.

        After each processing own images are compared with others after the same. Of several processings that one counts
        which says the least; 1, where one speaks for the network and another against it.
        """
        models = self.likelihood(name)
        found = [np.min([one.ratio(scores) for one in some], axis=0) for some in models.values()]
        low, high = np.min(found, axis=0), np.max(found, axis=0)
        return np.asarray(np.minimum(np.maximum(low, 1.0), high))

    def largest_ratio(self, name: str) -> float:
        """Return the largest likelihood ratio that the calibration can support."""
        return min(one.largest for some in self.likelihood(name).values() for one in some)

    def smallest_ratio(self, name: str) -> float:
        """Return the smallest likelihood ratio that the calibration can support."""
        return max(one.smallest for some in self.likelihood(name).values() for one in some)

    def likelihood(self, name: str) -> Mapping[str, tuple[LikelihoodRatio, ...]]:
        """Return the fitted likelihood ratios of own images against each population, by processing."""
        if name not in self._likelihood:
            found = {}
            for one in self.owns:
                own = self.scores(name, one, "threshold")
                others = [other for other in self.processings[one.processing] if other.name != OWN]
                fitted = (LikelihoodRatio.fit(own, self.scores(name, other, "threshold")) for other in others)
                found[one.processing] = tuple(fitted)
            self._likelihood[name] = found
        return self._likelihood[name]

    @cached_property
    def _likelihood(self) -> dict[str, Mapping[str, tuple[LikelihoodRatio, ...]]]:
        return {}

    def attributed(
        self, name: str, population: Population, split: str = "held-out", rate: float | None = None
    ) -> tuple[int, int]:
        """Return how many images of a part are below their threshold, and how many there are.

        Args:
            name: Name of the score.
            population: One of its populations.
            split: One of `SPLITS`.
            rate: Rate of false attributions that sets the threshold; see `threshold`.

        Raises:
            TooFewNegativesError: A population is too small to promise the rate.
        """
        key = (name, population.label, split, rate)
        if key not in self._attributed:
            images, scores = population.part(split), self.scores(name, population, split)
            below = [
                value < self.threshold(name, one.complexity, rate)[1].value
                for one, value in zip(images, scores, strict=True)
            ]
            self._attributed[key] = int(sum(below)), len(below)
        return self._attributed[key]

    @cached_property
    def _attributed(self) -> dict[tuple[str, str, str, float | None], tuple[int, int]]:
        return {}

    @cached_property
    def smallest_rate(self) -> float:
        """Smallest rate of false attributions that every threshold can promise; 0 where the rule promises none."""
        if self.settings.rule == "grubbs":
            return 0.0
        score = self.settings.score
        fewest = min(len(s) for index in range(self.bins.count) for s in self._in_bin(score, index).values())
        return smallest_rate(fewest, self.settings.confidence if self.settings.rule == "neyman-pearson" else None)


def make_calibration(
    settings: CalibrationSettings,
    owns: Sequence[Population],
    others: Sequence[Population],
    *,
    method: Mapping[str, Any],
    run: Mapping[str, Any],
    network: Mapping[str, Any],
    tool: str,
) -> Calibration:
    """Fit the score on its part of the populations, and see that the thresholds can be set.

    Args:
        settings: How it decides.
        owns: The network's own samples after each processing.
        others: Populations of other images after each processing.
        method: See `Calibration`.
        run: Likewise.
        network: Likewise.
        tool: Likewise.

    Raises:
        UsageError: A population is too small for the rate; the message has the number that is needed.
    """
    check_sizes(settings, {one.label: len(one.measurements) for one in others})
    divided = divide((*owns, *others), settings.shares)
    owns, others = divided[: len(owns)], divided[len(owns) :]
    for part, fewest in [*((own, 2) for own in owns), *((other, 1) for other in others)]:
        if len(part.part("threshold")) < 1 or len(part.part("fit")) < fewest:
            what = f"{len(part.measurements)} usable images of {part.label} are too few"
            advice = "Give a larger --count." if part.name == OWN else "Give more images."
            share = settings.shares(part.name)["fit"]
            raise UsageError(f"{what}: the score takes {math.ceil(fewest / share)}", advice=advice)
    made = Calibration(settings, method, run, network, tool, owns, others, fit_evidence(owns, others))
    for population in others:
        for one in population.part("threshold"):
            try:
                made.threshold(settings.score, one.complexity)
            except TooFewNegativesError as error:
                raise too_few(population.label, len(population.measurements), settings) from error
    return made


def fit_evidence(
    owns: Sequence[Population], others: Sequence[Population], features: Sequence[str] = tuple(FEATURES)
) -> EvidenceScore:
    """Fit the evidence score on its part of the populations.

    What preset exact finds says all that its images tell, whatever happened to them: the other features, which compare
    an image with what it was before that, are left out there.

    Args:
        owns: The network's own samples after each processing.
        others: Populations of other images after each processing.
        features: Names of the features that all of them have.
    """
    fitted = [one for part in (*owns, *others) for one in part.part("fit")]
    exact = [name for name in features if FEATURES[name].of_exact or FEATURES[name].also_exact]
    is_exact = "q" in features and all(math.isfinite(one.evidence[name]) for one in fitted for name in exact)
    return EvidenceScore.fit(
        [one.evidence for own in owns for one in own.part("fit")],
        {population.label: [one.evidence for one in population.part("fit")] for population in others},
        exact if is_exact else features,
        at_the_rim=is_exact,
    )
