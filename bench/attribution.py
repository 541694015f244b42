"""How well network A's images are told from others: the tables of bench/attribution.md.

    python -m bench.attribution [--count 300] [--work runs/attribution]

The calibration is the one in data/networks; C's images, and those of the training set, had no part in it. Everything
that is measured is kept in the work folder, so that the same command goes on where it was stopped.
"""

import argparse
import dataclasses
import hashlib
import json
import math
import platform
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.stats import spearmanr

from bench.populations import FASHION_MNIST, NETWORKS, write_populations
from generator.files.reading import load
from generator.processors import processors
from invert.attribution.calibration_file import read_calibration
from invert.attribution.evaluation import CLEAN, Evaluation, attributed, evaluate, scores_of
from invert.attribution.evidence import FEATURES
from invert.attribution.measurements import (
    Measurement,
    attribution_method,
    begin_measurements,
    read_measurement,
)
from invert.attribution.measuring import measure_population
from invert.attribution.perturbations import apply, parse_perturbations
from invert.attribution.report.evaluation import overview_table, tables
from invert.attribution.score import EvidenceScore
from invert.attribution.settings import OWN, SCORES
from invert.batch.images import Listed, list_images
from invert.durable import ensure_folder, write_atomic
from invert.images.decoding import to_png_bytes
from invert.projection.config import ProjectConfig, with_defaults
from invert.projection.records import config_of
from invert.projection.session import open_session
from invert.report.page import Table
from invert.statistics.intervals import auc, auc_interval, tpr_at_fpr

NETWORK = NETWORKS / "A.safetensors"
CALIBRATION = NETWORKS / "A.calibration.json"
RANDOM = "own random noise"
OTHERS = ("real", "training", "B", "C")
TRUNCATED = ("own psi 0.7", "own psi 0.5")
PERTURBATIONS = ("jpeg:75", "resize:0.5", "blur:1", "noise:5", "crop:0.05")
SMALL = ("latent_mahalanobis", "latent_distance", "lpips", "complexity")
BATCH = 32
ALONE = ("lpips", "lpips_alex", "pixel_rmse", "latent_distance", "latent_mahalanobis", "complexity")

Measured = Mapping[str, Sequence[Measurement]]


class Bench:
    """Measure populations under several methods, and write what is found."""

    def __init__(self, work: Path, count: int, source: Path, without: Sequence[str] = ()) -> None:
        self.work, self.count, self.without = work, count, without
        write_populations(work / "populations", source, count, calibration=False)
        self.calibration = read_calibration(CALIBRATION)
        self.loaded = load(NETWORK)
        self.base = dataclasses.replace(
            config_of(dict(self.calibration.method)), batch=BATCH, threads=1, device="cpu", seed=0
        )
        self.lines: list[str] = []

    def measure(
        self, method: str, config: ProjectConfig, population: str, count: int, folder: Path | None = None
    ) -> list[Measurement]:
        """Measure the first images of a population under a method, and count the processor time that it takes."""
        source = folder or self.work / "populations" / "test" / population
        listed = list(list_images([source]))[:count]
        out = self.work / "measured" / method / population
        # A batch goes to one process: few images are shared out all the same.
        processes = processors()
        batch = min(BATCH, max(1, len(listed) // processes))
        session = open_session(self.loaded, dataclasses.replace(config, batch=batch))
        begin_measurements(out.parent, attribution_method(session.method), {})
        kept = [one for image in listed if (one := self._kept(out, image)) is not None]
        if len(kept) == len(listed):
            return kept
        started = processor_seconds()
        found, failed = measure_population(session, out, listed, processes, lambda _: None)
        if failed:
            raise RuntimeError(f"{failed} images of {population} could not be measured")
        # The last batch is filled up, and the filling costs as much as images do.
        places = -(-(len(found) - len(kept)) // batch) * batch
        time = {"places": places, "seconds": processor_seconds() - started}
        write_atomic(ensure_folder(self.work / "times" / method) / f"{population}.json", json.dumps(time).encode())
        print(f"{method}: {len(found)} of {population}", file=sys.stderr, flush=True)
        return found

    @staticmethod
    def _kept(folder: Path, image: Listed) -> Measurement | None:
        found = read_measurement(folder, image.name)
        is_same = found is not None and hashlib.sha256(image.path.read_bytes()).hexdigest() == found.file_sha256
        return found if is_same else None

    def own(self, method: str, config: ProjectConfig, count: int) -> list[Measurement]:
        """Measure own images as the calibration has them: half with stored, half with random noise maps."""
        return [one for name in (OWN, RANDOM) for one in self.measure(method, config, name, count // 2)]

    def seconds(self, method: str) -> float:
        """Return the processor seconds of a place in a batch, start-up and measuring included; NaN: unknown."""
        times = [json.loads(path.read_bytes()) for path in (self.work / "times" / method).glob("*.json")]
        places = sum(one["places"] for one in times)
        return sum(one["seconds"] for one in times) / places if places else math.nan

    def share(self, parts: int) -> int:
        """Return how many images of a population a slow measurement takes: one part, but no fewer than four."""
        return max(self.count // parts, 4)

    def say(self, *lines: str) -> None:
        """Add a paragraph to the file."""
        self.lines += [*lines, ""]

    def table(self, table: Table) -> None:
        """Add a table, below its caption."""
        if table.caption:
            self.say(f"{table.caption}.")
        header = ["| " + " | ".join(table.header) + " |", "|" + "---|" * len(table.header)]
        self.say(*header, *("| " + " | ".join(row) + " |" for row in table.rows))


def processor_seconds() -> float:
    """Return the processor time of this process and of those it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def clean(bench: Bench) -> None:
    """Add the tables of the calibrated verdict on images as they are."""
    own = bench.own("verdict", bench.base, 2 * bench.count)
    measured = {name: bench.measure("verdict", bench.base, name, bench.count) for name in OTHERS}
    measured |= {name: bench.measure("verdict", bench.base, name, bench.share(5)) for name in TRUNCATED}
    bench.say("## Verdicts of the calibration that ships with the project")
    bench.say(
        f"{bench.count} images of each, twice as many own ones: half drawn with the noise maps in the file, half",
        "with random ones. It was made with real images and B's; C and the training images had no part in it.",
        "Steps and noise of the method were chosen on the first 100 of each (60 of own ones with random maps) alone.",
        "Intervals are 95 %. Not thresholds but ranks are compared in the columns of AUC and TPR.",
    )
    for table in tables(evaluate(bench.calibration, {OWN: own, **{name: measured[name] for name in OTHERS}})):
        bench.table(table)
    half = len(own) // 2
    kinds = {"stored noise maps": own[:half], "random noise maps": own[half:]}
    kinds |= {f"stored maps, {name.removeprefix('own ')}": measured[name] for name in TRUNCATED}
    rows = [
        (name, *(str(attributed(bench.calibration, score, found)) for score in SCORES)) for name, found in kinds.items()
    ]
    bench.table(Table(rows, ("own images with", *SCORES), "Own images attributed, by kind"))
    single(bench, {OWN: own, **measured})


def single(bench: Bench, measured: Measured) -> None:
    """Add the areas of single numbers: what the score is better than."""
    rows = []
    for feature in ALONE:
        values = {name: np.array([one.evidence[feature] for one in measured[name]]) for name in (OWN, *OTHERS)}
        areas = [auc(values[OWN], values[name]) for name in OTHERS]
        rows.append((feature, *(f"{area:.3f}" for area in areas)))
    caption = "AUC of single numbers, lower being more like the network's own; under 0.5 it is the other way round"
    bench.table(Table(rows, ("number", *OTHERS), caption))


def chance(bench: Bench) -> None:
    """Add what another seed of the optimiser changes."""
    count = bench.share(15)
    bench.say("## Another seed", f"{count} images of each, measured again with other random numbers.")
    rows = []
    for name in (OWN, RANDOM, "B"):
        found = [
            bench.measure("verdict", bench.base, name, count),
            bench.measure("seed 1", dataclasses.replace(bench.base, seed=1), name, count),
        ]
        for score in SCORES:
            first, second = (scores_of(bench.calibration, score, part) for part in found)
            limits = [bench.calibration.threshold(score, one.complexity)[1].value for one in found[0]]
            changed = int(((first < limits) != (second < limits)).sum())
            within, between = np.sqrt(np.mean((first - second) ** 2) / 2), first.std()
            rho = float(spearmanr(first, second).statistic)
            rows.append((name, score, f"{within:.3f}", f"{between:.3f}", f"{rho:.2f}", f"{changed} of {len(first)}"))
    header = ("images of", "score", "deviation within", "between images", "rank correlation", "crossed")
    bench.table(Table(rows, header))


def folds(found: Measured, features: Sequence[str], fitted: Sequence[str]) -> dict[str, np.ndarray]:
    """Return scores of two-fold cross-validation; populations not among `fitted` are only ever scored."""
    out = {name: np.full(len(rows), np.nan) for name, rows in found.items()}
    for fold in (0, 1):
        part = {name: [one.evidence for i, one in enumerate(rows) if i % 2 != fold] for name, rows in found.items()}
        score = EvidenceScore.fit(part[OWN], {name: part[name] for name in fitted}, features)
        for name, rows in found.items():
            out[name][fold::2] = [score(one.evidence) for one in rows[fold::2]]
    return out


def methods(bench: Bench) -> None:
    """Add the comparison of steps, starts, backbones, noise and restarts, the slow ones on fewer images."""
    base = bench.base
    free = dataclasses.replace(base, noise="optimise")
    cases = {
        "verdict": (base, 1),
        "20 steps": (dataclasses.replace(base, steps=20), 6),
        "100 steps": (dataclasses.replace(base, steps=100), 3),
        "200 steps": (dataclasses.replace(base, steps=200), 6),
        "500 steps": (dataclasses.replace(base, steps=500), 20),
        "1000 steps": (dataclasses.replace(base, steps=1000), 40),
        "50 steps, noise optimised": (free, 3),
        "100 steps, noise optimised": (dataclasses.replace(free, steps=100), 3),
        "200 steps, noise optimised": (dataclasses.replace(free, steps=200), 15),
        "50 steps, AlexNet": (dataclasses.replace(base, lpips="alex"), 10),
        "50 steps, best of 2": (dataclasses.replace(base, restarts=2), 10),
        "paper, 1000 steps": (
            ProjectConfig(**with_defaults({"preset": "paper"}), batch=BATCH, threads=1, device="cpu"),
            25,
        ),
    }
    bench.say("## Steps, starts, backbones, noise, restarts")
    bench.say(
        f"The method that ships is `verdict`: {base.steps} steps from the best of a bank of samples, the noise maps",
        "fixed to those in the network's file; the others differ from it as they are called. n images of each",
        "population, twice as many own ones, half of them drawn with random noise maps. Evidence is cross-validated in",
        "two folds, fitted on own, real and B's images; curve is the distances alone, small uses four numbers:",
        f"{', '.join(SMALL)}. Rates that n images cannot show, and times that were not kept, are left out. Seconds",
        "are of one processor while both are at work, start-up included: the fewer images, the more of it each has.",
        *(["Not measured: " + "; ".join(bench.without)] if bench.without else []),
    )
    rows: list[tuple[str, ...]] = []
    for name, (config, share) in cases.items():
        if name in bench.without:
            continue
        count = bench.share(share)
        found = {OWN: bench.own(name, config, 2 * count)}
        found |= {p: bench.measure(name, config, p, count) for p in ("real", "B", "C")}
        scores = {
            "lpips": {p: np.array([one.evidence["lpips"] for one in part]) for p, part in found.items()},
            "curve": folds(found, [f for f in FEATURES if f.startswith("lpips")], ("real", "B")),
            "small": folds(found, SMALL, ("real", "B")),
            "evidence": folds(found, list(FEATURES), ("real", "B")),
        }
        seconds = bench.seconds(name)
        for score, values in scores.items():
            label = (name, str(count), _known(seconds)) if score == "lpips" else ("", "", "")
            rows.append((*label, score, *_separation(values, seconds)))
    header = ("method", "n", "s per image", "score", "AUC real", "AUC B", "AUC C")
    header += ("TPR at 5 % FPR: real", "B", "C", "TPR at 1 % FPR: real", "B", "C", "B, random noise", "B at 1 %, per s")
    bench.table(Table(rows, header))


def _separation(values: Mapping[str, np.ndarray], seconds: float) -> list[str]:
    own, cells = values[OWN], []
    others = [values[name] for name in ("real", "B", "C")]
    for negatives in others:
        low, high = auc_interval(own, negatives)
        cells.append(f"{auc(own, negatives):.3f} ({low:.2f}-{high:.2f})")
    for rate in (0.05, 0.01):
        shown = [len(negatives) * rate >= 1 for negatives in others]
        found = [tpr_at_fpr(own, negatives, rate).tpr for negatives in others]
        cells += [f"{tpr:.2f}" if is_shown else "" for tpr, is_shown in zip(found, shown, strict=True)]
    if not shown[1]:
        return [*cells, "", ""]
    random = tpr_at_fpr(own[len(own) // 2 :], others[1], 0.01).tpr
    return [*cells, f"{random:.2f}", _known(found[1] / seconds)]


def _known(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"


def perturbed(bench: Bench) -> None:
    """Add what a little processing does to misses and mistakes."""
    count = bench.share(10)
    bench.say("## Perturbed images")
    bench.say(
        f"{count} images of each population, half of the own ones with random noise maps; threshold and score are",
        "those of clean images.",
    )
    evaluations: list[Evaluation] = []
    for key in (CLEAN, *PERTURBATIONS):
        found = {}
        for population, images in {OWN: count // 2, RANDOM: count // 2, "real": count, "B": count}.items():
            folder = bench.work / "populations" / "test" / population
            if key == CLEAN:
                found[population] = bench.measure("verdict", bench.base, population, images)
            else:
                folder = perturbed_folder(bench, folder, key, images)
                found[population] = bench.measure(f"perturbed {key}", bench.base, population, images, folder)
        everything = {OWN: found[OWN] + found[RANDOM], "real": found["real"], "B": found["B"]}
        evaluations.append(evaluate(bench.calibration, everything, perturbation=key))
    bench.table(overview_table(evaluations))
    rows = [
        (one.perturbation, part.score, part.name, f"{part.auc:.3f} ({part.auc_low:.2f}-{part.auc_high:.2f})")
        for one in evaluations
        for part in one.others
    ]
    bench.table(Table(rows, ("perturbation", "score", "against", "AUC"), "Both sides perturbed alike"))


def perturbed_folder(bench: Bench, source: Path, key: str, count: int) -> Path:
    """Write perturbed copies of the first images of a folder."""
    folder = ensure_folder(bench.work / "populations" / key.replace(":", "-") / source.name)
    (perturbation,) = parse_perturbations(key)
    for path in sorted(source.iterdir())[:count]:
        if not (folder / path.name).exists():
            array = np.asarray(Image.open(path))
            array = array[:, :, None] if array.ndim == 2 else array
            write_atomic(folder / path.name, to_png_bytes(apply(array, perturbation, path.name)))
    return folder


SECTIONS = {"clean": clean, "methods": methods, "chance": chance, "perturbed": perturbed}


def main() -> None:
    """Measure everything and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300, help="images of each population; slow methods take a share")
    parser.add_argument("--work", type=Path, default=Path("runs/attribution"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "attribution.md")
    parser.add_argument("--fashion-mnist", type=Path, default=FASHION_MNIST)
    parser.add_argument("--only", choices=SECTIONS, action="append", default=[])
    parser.add_argument("--without", metavar="METHOD", action="append", default=[], help="such as 'paper, 1000 steps'")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(arguments.work, arguments.count, arguments.fashion_mnist, arguments.without)
    bench.say("# Attribution to network A, measured")
    bench.say(
        "32 x 32 networks of garments; nothing here implies the same rates for photographs or larger networks.",
        f"Made by `make benchmark-attribution` (`--count {bench.count}`); {processors()} processors "
        f"({platform.machine()}), torch {torch.__version__},",
        f"method {bench.calibration.digest[:16]}, network {bench.loaded.provenance.sha256[:16]}.",
    )
    for name in arguments.only or SECTIONS:
        SECTIONS[name](bench)
    write_atomic(arguments.out, "\n".join(bench.lines).rstrip().encode() + b"\n")


if __name__ == "__main__":
    main()
