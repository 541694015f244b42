"""Reports of `invert attribute` on made-up images, measurements and calibrations."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from invert.attribution.attributions import Answer, Attribution
from invert.attribution.calibration import Calibration
from invert.attribution.candidate import Candidate
from invert.attribution.report.page import attribution_report
from invert.attribution.settings import CalibrationSettings
from invert.attribution.verdict import Verdict, decide
from invert.errors import ImageError
from invert.images.target import Target
from tests.attribution.calibration_case import calibration, measurement

Array = npt.NDArray[np.uint8]

COMMAND = "invert attribute --network A.safetensors 'my images/0.png' --seed 7 --report report.html"
SETTINGS = {"preset": "verdict", "steps": 100, "seed": 7, "bank": None}
SOFTWARE = {"invert": "0.1.0"}
DATE = "2026-01-02 03:04:05 UTC"

# Log distances to A and B; the calibrations' own lie at -8 and -3.5, others at 0 and -1, with spread 1.
KINDS = {
    "of A": (-8.0, 0.0),
    "of B": (0.5, -5.0),
    "of both": (-8.0, -5.0),
    "of neither": (0.5, 0.5),
    "in between": (0.5, -3.2),
    "unlike all": (-4.9, 0.5),
}


@functools.cache
def calibrations(score: str = "lpips", bins: int = 1) -> tuple[Calibration, Calibration]:
    """Return calibrations of networks A and B, for both as candidates."""
    settings = CalibrationSettings(score=score, candidates=2, bins=bins)
    count = 1300 * bins  # of which half must be 598 in each bin of each population
    return calibration(own=-8.0, count=count, settings=settings), calibration(own=-3.5, count=count, settings=settings)


def networks(count: int = 2, score: str = "lpips", bins: int = 1) -> list[Candidate]:
    """Return A, or A and B, with their calibrations."""
    return [
        Candidate(
            name,
            Path(f"nets/{name}.safetensors"),
            digit * 64,
            one,
            Path(f"nets/{name}.calibration.json"),
            f"ca{digit}" * 21,
        )
        for name, digit, one in list(zip("AB", "ab", calibrations(score, bins), strict=True))[:count]
    ]


def verdict(distances: Sequence[float], score: str = "lpips", bins: int = 1, **values: Any) -> Verdict:
    """Return the verdict on an image of these log distances to A, or to A and B."""
    count = len(distances)
    measured = [measurement(distance, **values) for distance in distances]
    return decide(calibrations(score, bins)[:count], measured, list("AB")[:count])


def garment(seed: int = 0, channels: int = 3, size: int = 32) -> Array:
    """Return a garment of sorts; with four channels, on a transparent ground."""
    random = np.random.RandomState(seed)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    a, b = random.uniform(0.4, 0.9, 2)
    blob = np.exp(-(((x / a) ** 2 + (y / b) ** 2) ** 4)) * (0.8 + 0.2 * np.sin(9 * x + 7 * y))
    image = blob[..., None] * random.uniform(90, 255, channels)
    return np.asarray(image, np.uint8)


def image(
    path: Path | str, found: Verdict | None, *, count: int = 2, seed: int = 0, channels: int = 3, size: int = 32
) -> Attribution:
    """Return an image with reconstructions that are a little off."""
    shape = garment(seed, channels, size)
    noise = np.random.RandomState(seed + 1).randn(count, *shape.shape)
    answers = []
    for k in range(count):
        near = np.clip(shape + 8 * (1 + k) * noise[k], 0, 255).astype(np.uint8)
        finding = None if found is None else found.findings[k]
        measured = measurement(float(np.log(0.0123 + k))) if finding is None else finding.measurement
        target = Target(shape, "x", Path(path), f"{seed:064x}", f"{seed:064x}", (size, size), False, (), ())
        answers.append(Answer("AB"[k], target, near, measured, measured.distance, finding))
    return Attribution(Path(path), tuple(answers), found)


def images(count: int = 2, score: str = "lpips") -> list[Attribution]:
    """Return one of each of KINDS and one that could not be read."""
    made = [
        image(f"samples/{name}.png", verdict(distances[:count], score), count=count, seed=seed)
        for seed, (name, distances) in enumerate(KINDS.items())
    ]
    return [*made, Attribution(Path("samples/cut.png"), error=ImageError("the file is cut off"))]


def report(some: Sequence[Attribution], of: Sequence[Candidate] | None = None, **others: Any) -> bytes:
    """Return the page."""
    given = {"command": COMMAND, "settings": SETTINGS, "software": SOFTWARE, "date": DATE, **others}
    return attribution_report(networks() if of is None else of, some, **given)
