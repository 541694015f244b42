"""The verdict on drawn faces, in colour and of 64 px: each population after each processing."""

from functools import partial
from pathlib import Path

from bench.attribution.cells import EXACT, Counts, share_of
from bench.attribution.document import Text
from bench.attribution.laboratory import Laboratory, Method
from bench.attribution.sealed import RANDOM
from bench.domains.populations import TESTS, write_population
from bench.populations import NETWORKS
from invert.attribution.settings import OWN, UNPROCESSED
from invert.attribution.verdict import Outcome
from invert.report.page import Table

__all__ = ["PROCESSINGS", "add_faces"]

PROCESSINGS = (UNPROCESSED, "blur:1", "resize:0.5", "jpeg:75", "crop:0.05")
"""Each takes minutes."""

OTHERS = ("real", "faces-b")


def add_faces(text: Text, laboratory: Laboratory, held_out: Path, counts: Counts) -> None:
    """Add the table of verdicts.

    Args:
        text: What it is added to.
        laboratory: That of network A, whose work folder gets another one in it.
        held_out: The zip of faces that no network has seen.
        counts: Images of a population.
    """
    path = NETWORKS / "faces.safetensors"
    method = Method.of(path.with_suffix(".calibration.json"))
    faces = Laboratory(laboratory.work / "faces", partial(_write, held_out), {EXACT: method}, laboratory.workers, path)
    calibrated = ", ".join(one.processing for one in method.calibration.owns)
    text.say(
        f"Network {faces.network.provenance.sha256[:16]}, calibration {method.calibration.digest[:16]}, which has",
        f"seen images after {calibrated}. {counts.clean} images of each population as they are, and {counts.processed}",
        "after each processing, of which no bank and no calibration has any; what happened to them is told to no",
        "method. Real faces are drawn ones that no network has seen; faces-b was trained as faces was, on the same",
        "images, with another seed. Intervals are of 95 % (Clopper and Pearson).",
    )
    rows = []
    for processing in PROCESSINGS:
        count = counts.clean if processing == UNPROCESSED else counts.processed
        for name in (OWN, RANDOM, *OTHERS):
            found = faces.findings(EXACT, name, count, processing)
            outcomes = [str(share_of(outcome, found)) for outcome in Outcome]
            rows.append((processing, name, str(len(found)), *outcomes))
    text.table(Table(rows, ("after", "images of", "n", *map(str, Outcome))))


def _write(held_out: Path, folder: Path, name: str, count: int) -> Path:
    kind, first, _, noise = TESTS[name]
    out = folder / name.replace(" ", "-")
    write_population(out, held_out, kind, first, count, noise)
    return out
