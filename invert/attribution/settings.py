"""How measurements become verdicts: settings alone, so that a command's help needs nothing heavy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from invert.errors import UsageError
from invert.images.decoding import ImagePolicy
from invert.projection.config import ProjectConfig, with_defaults

if TYPE_CHECKING:
    from generator.files.state import Provenance

__all__ = [
    "BETA",
    "MISS_RATE",
    "NEAR_RATE",
    "OWN",
    "PROCESSINGS",
    "RULES",
    "SCORES",
    "SHARES_OF_SEVERAL",
    "SPLITS",
    "UNPROCESSED",
    "CalibrationSettings",
    "Judging",
    "check_evidence",
    "check_untuned",
    "with_verdict_defaults",
]

OWN = "own"
"""The population of the network's own samples."""

SPLITS = {"fit": 0.25, "threshold": 0.5, "held-out": 0.25}
"""Parts of each population: for fitting the score, for threshold and p-values, and to see what that achieves."""

BETA = 0.01
"""An image counts as a network's own only while more than this share of its own images measure as high or higher."""

MISS_RATE = 0.05
"""See `Judging.miss_rate`; larger than what is allowed for false attributions, for this mistake accuses nobody."""

NEAR_RATE = 0.05
"""An image counts as one of others only while more than this share of others' images, found to be processed alike,
measure as low or lower: one that is nearer to the network may be its own, after what no method models."""

SHARES_OF_SEVERAL = {"fit_share": 0.11, "threshold_share": 0.87, "own_fit_share": 0.33, "own_threshold_share": 0.6}
"""Shares where populations are measured after several processings: all of them together fit the score, and of the
network's own images, of which no threshold needs a number, more can."""

UNPROCESSED = "none"
"""Stands for images that nothing happened to."""

PROCESSINGS = (
    "none jpeg:95,75,50 resize:0.75,0.5 reduce:0.5 blur:0.5,1 noise:2,5 crop:0.05 shift:1 gamma:0.9 "
    "resize:0.75+jpeg:75 crop:0.02+jpeg:75"
)
"""What populations are measured after for preset exact, unless the user says."""

SCORES = ("lpips", "evidence")
RULES = ("neyman-pearson", "conformal", "grubbs")


@dataclass(frozen=True)
class CalibrationSettings:
    """How measurements become verdicts.

    Args:
        score: Score that decides, one of `SCORES`.
        rule: Rule that sets the thresholds, one of `RULES`.
        rate: Rate of false attributions that is promised, in (0, 1).
        confidence: Confidence with which it is promised, in (0, 1).
        candidates: Number of networks that an image may be compared with at a time, 1 to 1000; the rate is shared
            among them by Holm's rule.
        bins: Number of bins of complexity, 1 to 1000, each with thresholds of its own.
        fit_share: Share of each other population that fits the score, in (0, 1).
        threshold_share: Share that sets thresholds and gives p-values, likewise; what is left is held out.
        own_fit_share: Share of the network's own images that fits the score, likewise.
        own_threshold_share: Share of them that gives p-values, likewise.

    Raises:
        UsageError: A value is out of range.
    """

    score: str = "evidence"
    rule: str = "neyman-pearson"
    rate: float = 0.01
    confidence: float = 0.95
    candidates: int = 1
    bins: int = 1
    fit_share: float = SPLITS["fit"]
    threshold_share: float = SPLITS["threshold"]
    own_fit_share: float = SPLITS["fit"]
    own_threshold_share: float = SPLITS["threshold"]

    def __post_init__(self) -> None:
        for name, choices in (("score", SCORES), ("rule", RULES)):
            if getattr(self, name) not in choices:
                raise UsageError(f"--{name} {getattr(self, name)!r} is not one of {', '.join(choices)}")
        for name, flag in (("rate", "fpr"), ("confidence", "confidence")):
            if type(getattr(self, name)) not in (int, float) or not 0 < getattr(self, name) < 1:
                raise UsageError(f"--{flag} {getattr(self, name)} is not between 0 and 1")
        for name in ("candidates", "bins"):
            if type(getattr(self, name)) is not int or not 1 <= getattr(self, name) <= 1000:
                raise UsageError(f"--{name} {getattr(self, name)} is not in 1..1000")
        for shares in ((self.fit_share, self.threshold_share), (self.own_fit_share, self.own_threshold_share)):
            if any(type(share) is not float or not 0 < share < 1 for share in shares) or sum(shares) >= 1:
                raise UsageError(f"shares {shares[0]} and {shares[1]} are not above 0 and together below 1")

    def shares(self, name: str) -> dict[str, float]:
        """Return the share of each of `SPLITS` in a population."""
        fit, threshold = self.fit_share, self.threshold_share
        if name == OWN:
            fit, threshold = self.own_fit_share, self.own_threshold_share
        return {"fit": fit, "threshold": threshold, "held-out": 1 - fit - threshold}


@dataclass(frozen=True)
class Judging:
    """What the user wants images to be judged by.

    Args:
        score: Score that decides, one of `SCORES`; default that of each calibration.
        threshold: LPIPS distance below which an image is attributed: the paper's plain rule, which then decides.
        rate: Rate of false attributions, in (0, 1), shared among the networks; default each calibration's own.
        own: Number of samples of its own that a network without a calibration is compared with.
        miss_rate: Largest share of a network's own images, found and measured like an image, at which that is called
            none of its own, in (0, 1).

    Raises:
        UsageError: A value is out of range, or two of them contradict each other.
    """

    score: str | None = None
    threshold: float | None = None
    rate: float | None = None
    own: int = 0
    miss_rate: float = MISS_RATE

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 < self.threshold < 100:
            raise UsageError(f"--threshold {self.threshold} is no distance")
        if self.rate is not None and not 0 < self.rate < 1:
            raise UsageError(f"--fpr {self.rate} is not between 0 and 1")
        if not 0 < self.miss_rate < 1:
            raise UsageError(f"--miss-rate {self.miss_rate} is not between 0 and 1")
        if self.score not in (None, *SCORES):
            raise UsageError(f"--score {self.score!r} is not one of {', '.join(SCORES)}")
        if not 0 <= self.own <= 1_000_000:
            raise UsageError(f"--own {self.own} is not in 0..1000000")
        if self.threshold is not None and (self.score == "evidence" or self.rate is not None):
            other = "--fpr" if self.rate is not None else "--score evidence"
            raise UsageError(f"--threshold is a distance and promises no rate: it does not go with {other}")


_SPACES = {
    "w+": "a w for each layer fits images of any origin",
    "z": "its distances have not been measured against a population",
}


def check_evidence(config: ProjectConfig, policy: ImagePolicy | None = None) -> None:
    """Refuse settings whose projections are no evidence of where an image is from.

    Args:
        config: Settings of the projections that a verdict would rest on.
        policy: What images became pixels by.

    Raises:
        UsageError: They are for images that are to be edited.
    """
    if config.space != "w":
        reason = f"--space {config.space} is no evidence: {_SPACES[config.space]}"
        raise UsageError(reason, advice="Verdicts rest on projections into W: leave it out.", code="no-evidence")
    if policy is not None and policy.fit != "crop":
        reason = f"images that were fitted by {policy.fit!r} are no evidence: thresholds are for whole, true images"
        raise UsageError(reason, advice="Leave it out.", code="no-evidence")
    if policy is not None and policy.align != "none":
        reason = "photos that were aligned are no evidence: thresholds are for images as they are"
        raise UsageError(reason, advice="Leave it out.", code="no-evidence")
    for option, value, why in (
        (
            "--start",
            config.start_file or ("encoder" if config.starts_from_encoder else None),
            "a start of one's own choice makes some images come nearer than others",
        ),
        ("--tune", config.tune or None, "a network that is fitted to an image generates any"),
        ("--mask", config.mask, "what is left out of an image could tell that it is another's"),
    ):
        if value is not None:
            raise UsageError(f"{option} {value} is no evidence: {why}", advice="Leave it out.", code="no-evidence")


def check_untuned(origin: "Provenance") -> None:
    """Refuse a network that was fitted to one image, as `invert project --tune` writes it.

    Args:
        origin: Where the network came from.

    Raises:
        UsageError: It was.
    """
    if origin.tuned is not None:
        reason = f"was {origin.tuned}: that it generates the image says nothing of where the image is from"
        advice = "Name the network that it was tuned from."
        raise UsageError(reason, path=origin.path, advice=advice, code="no-evidence")


def with_verdict_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of `ProjectConfig` with the defaults of verdicts where none, or None, are given.

    Preset exact then tries both kinds of noise, and what may have happened to each image: choices that are made for an
    image by likelihood are part of the method that is calibrated.

    Raises:
        KeyError: There is no such preset.
    """
    settings = {"preset": "verdict", **{name: value for name, value in given.items() if value is not None}}
    if settings["preset"] == "exact":
        settings = {"noise": "both", "processing": "auto", **settings}
    return with_defaults(settings)
