"""Calibrations of preset exact on made-up measurements: groups, processings and what was found."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping

import numpy as np

from invert.attribution.calibration import Calibration, make_calibration
from invert.attribution.evidence import FEATURES, with_derived
from invert.attribution.explained import Explained, group_of
from invert.attribution.measurements import Measurement
from invert.attribution.settings import OWN, CalibrationSettings
from invert.attribution.splits import Population
from tests.attribution.calibration_case import METHOD, NETWORK

EXACT = METHOD | {"preset": "exact", "noise": "both", "processing": "auto"}
RATE = 0.2
SETTINGS = CalibrationSettings(rate=RATE, fit_share=0.25, threshold_share=0.5)

PROCESSINGS = {"none": ("none", False), "jpeg:75": ("jpeg:75", False), "reduce:0.5": ("resize:0.5", True)}
"""What is found, and whether the image is left small, after each processing."""

MEANS = {OWN: 0.0, "real": 3.0, "sibling": 2.0}
"""Mean log q of the images of each origin, without processing; they lie closer together after one."""


def found_image(
    q: float, processing: str = "none", *, small: bool = False, noise: str = "stored", stopped: str = "converged"
) -> Measurement:
    """Return a measurement of preset exact: log q for each number is `q`, all else follows from it."""
    digest = hashlib.sha256(f"{q}/{processing}/{small}".encode()).hexdigest()
    evidence = dict.fromkeys(FEATURES, 0.0) | {"lpips": q - 4, "complexity": 0.5}
    evidence |= {"q": q, "misfit": q - 0.1, "latent_norm": 0.3 * q, "rms_ratio": 0.5 * q}
    value = float("nan") if stopped == "saturated" else float(np.exp(q))
    explained = Explained(processing, noise, value, value * 0.3, 0.3, stopped)
    group = "" if explained.why_untold else group_of(processing, small)
    if not group:
        evidence |= dict.fromkeys(("q", "misfit", "rms_ratio"), float("nan"))
    evidence = with_derived(evidence, explained)
    return Measurement(b"x", digest, digest, "ok", small, evidence, None, explained, group)


def population(name: str, processing: str, mean: float, count: int, spread: float = 0.3) -> Population:
    """Return a population after a processing: the same images after each, as far as their hashes tell."""
    random = np.random.RandomState(
        int.from_bytes(hashlib.sha256(f"{name}{processing}".encode()).digest()[:4], "little")
    )
    found, small = PROCESSINGS[processing]
    images = []
    for number in range(count):
        one = found_image(float(mean + spread * random.randn()), found, small=small)
        source = hashlib.sha256(f"{name}/{number}".encode()).hexdigest()
        made_of = "" if processing == "none" else source
        digest = source if processing == "none" else one.pixel_sha256
        evidence = {**one.evidence, "complexity": float(random.rand())}
        images.append(dataclasses.replace(one, pixel_sha256=digest, made_of=made_of, evidence=evidence))
    return Population.of(name, name, images, processing=processing)


@functools.cache
def calibration(count: int = 60, own: int = 220, settings: CalibrationSettings = SETTINGS) -> Calibration:
    """Return a calibration whose images are found to be what they are."""
    populations = [
        population(name, processing, mean / (1 + number), own if name == OWN else count)
        for number, processing in enumerate(PROCESSINGS)
        for name, mean in MEANS.items()
    ]
    owns, others = ([one for one in populations if (one.name == OWN) is own] for own in (True, False))
    return make_calibration(settings, owns, others, method=EXACT, run={"batch": 1}, network=NETWORK, tool="0.2.0")


def rates(made: Calibration, name: str = "evidence") -> Mapping[str, tuple[int, int]]:
    """Return how many images of each other population are attributed among those that set the thresholds."""
    return {one.label: made.attributed(name, one, "threshold") for one in made.others}
