"""Calibrations on made-up measurements."""

import hashlib
import math

import numpy as np

from invert.attribution.calibration import Calibration, make_calibration
from invert.attribution.evidence import FEATURES
from invert.attribution.measurements import Measurement
from invert.attribution.settings import OWN, CalibrationSettings
from invert.attribution.splits import Population

METHOD = {"preset": "verdict", "steps": 100, "network_sha256": "ab" * 32, "evidence_version": 1}
NETWORK = {"sha256": "ab" * 32, "weights_sha256": "cd" * 32, "family": "invert", "resolution": 32}


_MEASURED = [name for name, feature in FEATURES.items() if feature.derive is None]
_UNKNOWN = {name: math.nan for name, feature in FEATURES.items() if feature.of_exact}
"""What only preset exact measures."""


def measurement(
    distance: float,
    *,
    complexity: float = 0.5,
    other: float = 0.0,
    key: str = "",
    status: str = "ok",
    upsampled: bool = False,
) -> Measurement:
    """Return a measurement with log distance `distance`; `other` is what every other number of it is."""
    evidence = dict.fromkeys(FEATURES, other) | _UNKNOWN | {"lpips": distance, "complexity": complexity}
    digest = hashlib.sha256(f"{key}/{distance}/{complexity}/{other}".encode()).hexdigest()
    return Measurement(key.encode() or b"x", digest, digest, status, upsampled, evidence)


def measurements(name: str, count: int, mean: float, spread: float = 1.0) -> list[Measurement]:
    """Return measurements with normal log distances; all other numbers are noise."""
    rng = np.random.RandomState(int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little"))
    found = []
    for index in range(count):
        evidence = dict(zip(_MEASURED, rng.randn(len(_MEASURED)).tolist(), strict=True))
        evidence |= _UNKNOWN | {"lpips": mean + spread * rng.randn(), "complexity": rng.rand()}
        digest = hashlib.sha256(f"{name}/{index}".encode()).hexdigest()
        found.append(Measurement(f"{name}{index}".encode(), digest, digest, "ok", False, evidence))
    return found


def calibration(
    *,
    own: float = -4.0,
    others: dict[str, float] | None = None,
    count: int = 640,
    settings: CalibrationSettings | None = None,
) -> Calibration:
    """Return a calibration of populations with these mean log distances."""
    means = others or {"real": 0.0, "sibling": -1.0}
    return make_calibration(
        settings or CalibrationSettings(score="lpips"),
        [Population.of(OWN, "seeds", measurements("own", count, own))],
        [Population.of(name, name, measurements(name, count, mean)) for name, mean in means.items()],
        method=METHOD,
        run={"batch": 1},
        network=NETWORK,
        tool="0",
    )
