"""How many images a calibration takes for what it promises."""

import math
from collections.abc import Mapping

from invert.attribution.settings import MISS_RATE, CalibrationSettings
from invert.errors import UsageError
from invert.statistics.thresholds import required_negatives

__all__ = ["check_sizes", "own_to_rule_out", "required_images", "too_few"]


def required_images(settings: CalibrationSettings) -> int:
    """Return how many images each population of others must have for the rate to be promised.

    The threshold's part alone sets the threshold: the number is the smallest whose part has as many as the rule needs.
    """
    if settings.rule == "grubbs":
        return 8
    rate = settings.rate / settings.candidates
    needed = required_negatives(rate, settings.confidence) if settings.rule != "conformal" else math.ceil(1 / rate) - 1
    count = math.floor((needed - 1) / settings.threshold_share)
    while math.ceil(count * settings.threshold_share) < needed:
        count += 1
    return count * settings.bins


def own_to_rule_out(settings: CalibrationSettings) -> int:
    """Return how many own samples a calibration needs for p1 to reach `MISS_RATE`: 19 in the part of p-values."""
    return math.floor((1 / MISS_RATE - 2) / settings.own_threshold_share) + 1


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
            raise too_few(name, have, settings)


def too_few(name: str, have: int, settings: CalibrationSettings) -> UsageError:
    """Return the error of a population that is too small.

    Args:
        name: Label of the population.
        have: How many images it has.
        settings: Settings of the calibration.
    """
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
