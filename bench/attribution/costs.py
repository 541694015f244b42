"""What a verdict costs, and in how many iterations own images are recovered."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.attribution.document import Text, at_least, counted
from bench.attribution.laboratory import BATCH, Laboratory
from bench.attribution.sealed import RANDOM
from invert.attribution.evidence import EvidenceMeter
from invert.attribution.measurements import measurement_of
from invert.attribution.settings import OWN
from invert.images.target import read_target
from invert.projection.config import ProjectConfig, with_defaults
from invert.projection.projector import Projection
from invert.projection.session import open_session
from invert.report.page import Table

__all__ = ["NEAR", "add_costs"]

NEAR = 0.5
"""Levels above what rounding leaves, up to which an own image counts as recovered."""

ITERATIONS = 10
_RECOVERED = at_least(0.99)
_AIMS = {"stored noise, no processing": 0.1, "everything asked": 1.0}
"""Seconds that a verdict of the exact preset is to take."""

_PROCESSED = "jpeg:75"


def _exact(**settings: Any) -> ProjectConfig:
    return ProjectConfig(**with_defaults({"preset": "exact", **settings}), threads=1, device="cpu")


def _paths(folder: Path, count: int) -> list[Path]:
    return sorted(folder.glob("*.png"))[:count]


def _seconds(laboratory: Laboratory, method: str, config: ProjectConfig, paths: Sequence[Path]) -> float:
    """Return the processor seconds of a verdict: reading, projecting, measuring and judging, without start-up."""
    session = open_session(laboratory.network, config)
    projector = session.projector()
    meter = EvidenceMeter(laboratory.network.generator)
    targets = [read_target(path, session.resolution, session.channels) for path in paths]
    for _ in projector.run(targets[: projector.batch]):  # what is made once
        pass
    began = time.process_time()
    targets = [read_target(path, session.resolution, session.channels) for path in paths]
    for event in projector.run(targets):
        if isinstance(event, Projection):
            found = measurement_of(event.target.name.encode(), event, meter)
            # a calibration of everything asked cannot judge what was asked less; the time for it is the same
            if method in laboratory.methods:
                laboratory.methods[method].judge(found)
    # a batch is filled up, and the filling costs as much as images do
    places = -(-len(paths) // projector.batch) * projector.batch
    return (time.process_time() - began) / places


def _recover(laboratory: Laboratory, count: int) -> list[dict[str, float]]:
    """Return what preset exact finds of own images in a few iterations, with stored noise and no processing."""
    folder = laboratory.images(OWN, "none", count)
    session = open_session(laboratory.network, _exact(noise="fixed", steps=ITERATIONS))
    targets = [read_target(path, session.resolution, session.channels) for path in _paths(folder, count)]
    found = [event.explanation for event in session.projector().run(targets) if isinstance(event, Projection)]
    return [
        {"rms": one.rms, "expected": one.expected_rms, "iterations": one.iterations} for one in found if one is not None
    ]


def add_costs(text: Text, laboratory: Laboratory, timed: int, recovered: int) -> None:
    """Add the seconds of a verdict, and the share of own images that are recovered.

    Args:
        text: Where it is added.
        laboratory: The work folder.
        timed: Images of each kind whose verdicts are timed.
        recovered: Own images that are recovered.
    """
    verdict, exact = (laboratory.methods[name].config for name in ("verdict", "exact"))
    cases = {
        ("exact", "stored noise, no processing"): _exact(noise="fixed"),
        ("exact", "both kinds of noise, no processing"): _exact(noise="both"),
        ("exact", "everything asked"): exact,
        ("verdict", "one question"): verdict,
    }
    kinds = [(OWN, "none"), (RANDOM, "none"), (OWN, _PROCESSED), ("B", "none"), ("real", "none")]
    rows = []
    for (preset, asked), config in cases.items():
        method = preset if config in (verdict, exact) else ""
        cells = []
        for name, processing in kinds:
            paths = _paths(laboratory.images(name, processing, timed), timed)

            def measure(config: ProjectConfig = config, method: str = method, paths: list[Path] = paths) -> float:
                return _seconds(laboratory, method, config, paths)

            key = f"seconds {preset} {asked.replace(',', '')} {name} {processing.replace(':', '-')}"
            cells.append(f"{laboratory.kept(key, {'timed': timed}, measure):.2f}")
        rows.append((preset, asked, *cells, f"{_AIMS[asked]:g}" if asked in _AIMS else "-"))
    text.say(
        f"Processor seconds of a verdict, of a mean of {timed} images read, projected, measured and judged by one",
        f"process with one thread, start-up aside; preset verdict in batches of {BATCH}.",
    )
    names = [name if processing == "none" else f"{name}, {processing}" for name, processing in kinds]
    text.table(Table(rows, ("preset", "what is asked", *names, "aim, own images")))
    found = laboratory.kept("recovered", {"count": recovered}, lambda: _recover(laboratory, recovered))
    above = np.array([one["rms"] - one["expected"] for one in found])
    share = counted(above <= NEAR)
    text.say(
        f"Own images with stored noise whose rms is at most {NEAR:g} levels above what rounding leaves, after at most",
        f"{ITERATIONS} iterations from each of two starts: {share} of {share.total}; aim {_RECOVERED.beside(share)}.",
        f"The median is {np.median(above):.2f} levels above it, the largest {above.max():.2f}; the median of",
        f"iterations is {np.median([one['iterations'] for one in found]):.0f}.",
    )
