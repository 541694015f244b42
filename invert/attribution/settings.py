"""How measurements become verdicts: settings alone, so that a command's help needs nothing heavy."""

from dataclasses import dataclass

from invert.errors import UsageError

__all__ = ["OWN", "RULES", "SCORES", "SPLITS", "CalibrationSettings"]

OWN = "own"
"""The population of the network's own samples."""

SPLITS = {"fit": 0.25, "threshold": 0.5, "held-out": 0.25}
"""Parts of each population: for fitting the score, for threshold and p-values, and to see what that achieves."""

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

    Raises:
        UsageError: A value is out of range.
    """

    score: str = "evidence"
    rule: str = "neyman-pearson"
    rate: float = 0.01
    confidence: float = 0.95
    candidates: int = 1
    bins: int = 1

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
