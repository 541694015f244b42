"""What a network's own images and others measure, and the thresholds that follow: a calibration.

Everything is derived from the raw measurements of named populations, so that another rate, or another rule, needs no
new projections. Scores are lower for what is more like the network's own images.

Reference: Tong, Feng and Li 2018 (Neyman-Pearson thresholds); see `invert.statistics`.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from invert.attribution.evidence import FEATURES
from invert.attribution.kind import PopulationKind
from invert.attribution.measurements import Measurement
from invert.attribution.score import EvidenceScore, lpips_score
from invert.attribution.settings import SPLITS, CalibrationSettings
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
    required_negatives,
    smallest_rate,
    strictest,
)

__all__ = [
    "Calibration",
    "Population",
    "check_sizes",
    "fit_evidence",
    "make_calibration",
    "required_images",
    "split_of",
]


@dataclass(frozen=True)
class Population:
    """Measured images of one origin.

    Args:
        name: `OWN`, or what the user called it.
        source: Where the images are from, in words.
        measurements: Measurements of distinct images, in the order of their hashes.
        left_out: How many were not used: the same pixels again, too small, diverged or unreadable.
        kind: What kind of images they are; None where that was not recorded.
    """

    name: str
    source: str
    measurements: tuple[Measurement, ...] = field(repr=False)
    left_out: int = 0
    kind: PopulationKind | None = None

    @classmethod
    def of(cls, name: str, source: str, found: Sequence[Measurement], failed: int = 0) -> "Population":
        """Take the usable images among those measured, each content once."""
        usable = {one.pixel_sha256: one for one in found if one.status == "ok" and not one.upsampled}
        kept = tuple(usable[key] for key in sorted(usable))
        kinds = [one.kind for one in kept if one.kind is not None]
        kind = PopulationKind.of(kinds) if kinds and len(kinds) == len(kept) else None
        return cls(name, source, kept, len(found) - len(kept) + failed, kind)

    def kind_in(self, resolution: int) -> PopulationKind:
        """Return the kind of its images; where that was not recorded, that of a network's samples of this size."""
        return self.kind or PopulationKind.assumed(resolution)

    @property
    def sha256(self) -> str:
        """Hash of the pixel hashes of its images, a line each."""
        lines = "".join(f"{one.pixel_sha256}\n" for one in self.measurements)
        return hashlib.sha256(lines.encode()).hexdigest()

    def part(self, split: str) -> tuple[Measurement, ...]:
        """Return the images of one of `SPLITS`."""
        return self._parts[split]

    @cached_property
    def _parts(self) -> dict[str, tuple[Measurement, ...]]:
        chosen = list(zip(self.measurements, split_of([one.pixel_sha256 for one in self.measurements]), strict=True))
        return {split: tuple(one for one, its in chosen if its == split) for split in SPLITS}


def split_of(pixel_sha256: Sequence[str]) -> list[str]:
    """Return the split of each image of a population; names and order play no role."""
    shuffled = sorted(pixel_sha256, key=lambda digest: hashlib.sha256(f"split/{digest}".encode()).digest())
    first, second = _sizes(len(shuffled))
    named = {digest: _split_at(place, first, second) for place, digest in enumerate(shuffled)}
    return [named[digest] for digest in pixel_sha256]


def _sizes(count: int) -> tuple[int, int]:
    """Return where the second and the third part begin; the threshold's part is rounded up."""
    threshold = math.ceil(count * SPLITS["threshold"])
    fit = int(count * SPLITS["fit"])
    return fit, fit + threshold


def _split_at(place: int, first: int, second: int) -> str:
    return "fit" if place < first else "threshold" if place < second else "held-out"


def required_images(settings: CalibrationSettings) -> int:
    """Return how many images each population of others must have for the rate to be promised.

    The threshold's part alone sets the threshold: the number is the smallest whose part has as many as the rule needs.
    """
    if settings.rule == "grubbs":
        return 8
    rate = settings.rate / settings.candidates
    needed = required_negatives(rate, settings.confidence) if settings.rule != "conformal" else math.ceil(1 / rate) - 1
    count = math.floor((needed - 1) / SPLITS["threshold"])
    while math.ceil(count * SPLITS["threshold"]) < needed:
        count += 1
    return count * settings.bins


@dataclass(frozen=True)
class Calibration:
    """A calibration of one network under one method.

    Args:
        settings: How it decides.
        method: Method record of the measurements; see `invert.attribution.measurements.attribution_method`.
        run: Run record of the measurements.
        network: sha256, weights_sha256, family and resolution of the network.
        tool: Version of this program.
        own: The network's own samples.
        others: Populations of other images, at least one.
        evidence: The fitted score.
    """

    settings: CalibrationSettings
    method: Mapping[str, Any]
    run: Mapping[str, Any]
    network: Mapping[str, Any]
    tool: str
    own: Population
    others: tuple[Population, ...]
    evidence: EvidenceScore

    @property
    def digest(self) -> str:
        """Digest of method and score; scores of calibrations with the same digest can be compared."""
        return method_digest({**self.method, "score": self.settings.score})

    @cached_property
    def kinds(self) -> Mapping[str, PopulationKind]:
        """Kind of the images of each population, by name."""
        return {one.name: one.kind_in(self.network["resolution"]) for one in (self.own, *self.others)}

    def unlike_own(self) -> Iterator[str]:
        """Yield what should be known of populations whose files are unlike the network's own: a score may see that."""
        own = self.kinds[self.own.name]
        for name, kind in self.kinds.items():
            if (set(kind.formats), kind.qualities is None) != (set(own.formats), own.qualities is None):
                yield (
                    f"images of {name} are of another kind ({kind.text}) than the network's own ({own.text}): the "
                    "thresholds may tell files apart, not networks. Give images that were stored alike"
                )

    def score(self, name: str, measurement: Measurement) -> float:
        """Return a score of an image; NaN where a number is missing."""
        return lpips_score(measurement.evidence) if name == "lpips" else self.evidence(measurement.evidence)

    def scores(self, name: str, population: Population, split: str) -> FloatArray:
        """Return the scores of a part of a population, `[n]`."""
        key = (name, population.name, split)
        if key not in self._scores:
            self._scores[key] = np.array([self.score(name, one) for one in population.part(split)], np.float64)
        return self._scores[key]

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
        values = [one.complexity for population in (self.own, *self.others) for one in population.measurements]
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
                self._binned[key][population.name] = self.scores(name, population, "threshold")[where == index]
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
                return lambda _: grubbs(self.scores(name, self.own, "threshold"))
            case _:
                return lambda scores: neyman_pearson(scores, rate, self.settings.confidence)

    def likelihood(self, name: str) -> tuple[LikelihoodRatio, ...]:
        """Return the fitted likelihood ratios of own images against each population."""
        if name not in self._likelihood:
            own = self.scores(name, self.own, "threshold")
            fitted = tuple(LikelihoodRatio.fit(own, self.scores(name, p, "threshold")) for p in self.others)
            self._likelihood[name] = fitted
        return self._likelihood[name]

    @cached_property
    def _likelihood(self) -> dict[str, tuple[LikelihoodRatio, ...]]:
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
        key = (name, population.name, split, rate)
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
    own: Population,
    others: Sequence[Population],
    *,
    method: Mapping[str, Any],
    run: Mapping[str, Any],
    network: Mapping[str, Any],
    tool: str,
) -> Calibration:
    """Fit the score on its part of the populations, and see that the thresholds can be set.

    Raises:
        UsageError: A population is too small for the rate; the message has the number that is needed.
    """
    check_sizes(settings, {population.name: len(population.measurements) for population in others})
    if len(own.part("threshold")) < 1 or len(own.part("fit")) < 2:
        raise UsageError(f"{len(own.measurements)} own samples are too few", advice="Give a larger --count.")
    evidence = fit_evidence(own, others)
    made = Calibration(settings, method, run, network, tool, own, tuple(others), evidence)
    for population in others:
        for one in population.part("threshold"):
            try:
                made.threshold(settings.score, one.complexity)
            except TooFewNegativesError as error:
                raise _too_few(population.name, len(population.measurements), settings) from error
    return made


def fit_evidence(
    own: Population, others: Sequence[Population], features: Sequence[str] = tuple(FEATURES)
) -> EvidenceScore:
    """Fit the evidence score on its part of the populations.

    Args:
        own: The network's own samples.
        others: Populations of other images.
        features: Names of the features that all of them have.
    """
    return EvidenceScore.fit(
        [one.evidence for one in own.part("fit")],
        {population.name: [one.evidence for one in population.part("fit")] for population in others},
        features,
    )


def check_sizes(settings: CalibrationSettings, sizes: Mapping[str, int]) -> None:
    """Refuse populations that are too small for the rate; the message has the number that is needed.

    Args:
        settings: Settings of the calibration.
        sizes: Number of images of each population that is not the network's, by name.

    Raises:
        UsageError: One is too small.
    """
    for name, have in sizes.items():
        if have < required_images(settings):
            raise _too_few(name, have, settings)


def _too_few(name: str, have: int, settings: CalibrationSettings) -> UsageError:
    least = required_negatives(settings.rate / settings.candidates, settings.confidence)
    what = f"a false-positive rate of {settings.rate:g} with confidence {settings.confidence:g}"
    if settings.candidates > 1:
        what += f", shared by {settings.candidates} candidates,"
    per_bin = f" in each of {settings.bins} bins" if settings.bins > 1 else ""
    return UsageError(
        f"population {name!r} has {have} usable images; {what} needs {least}{per_bin} for the threshold alone, "
        f"{required_images(settings)} in all",
        advice="Give more images, or a larger --fpr.",
        code="too-few-negatives",
    )
