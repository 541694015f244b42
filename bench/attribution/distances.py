"""Preset verdict by itself: its calibration, what each step and start is worth, and what chance does.

Its images are those of `bench.populations`, on the first of which its steps and noise were chosen.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from bench.attribution.document import Text
from bench.attribution.laboratory import BATCH, Laboratory
from bench.attribution.sealed import RANDOM
from bench.populations import write_populations
from invert.attribution.evaluation import attributed, evaluate, scores_of
from invert.attribution.evidence import FEATURES
from invert.attribution.measurements import Measurement
from invert.attribution.report.evaluation import tables
from invert.attribution.score import EvidenceScore
from invert.attribution.settings import OWN, SCORES
from invert.projection.config import ProjectConfig, with_defaults
from invert.report.page import Table
from invert.statistics.intervals import auc, auc_interval, tpr_at_fpr

__all__ = ["Distances", "add_chance", "add_clean", "add_methods"]

OTHERS = ("real", "training", "B", "C")
TRUNCATED = ("own psi 0.7", "own psi 0.5")
SMALL = ("latent_mahalanobis", "latent_distance", "lpips", "complexity")
ALONE = ("lpips", "lpips_alex", "pixel_rmse", "latent_distance", "latent_mahalanobis", "complexity")

Measured = Mapping[str, Sequence[Measurement]]


class Distances:
    """Measure the images of `bench.populations` under variants of preset verdict.

    Args:
        laboratory: The work folder; its method "verdict" is the one that ships.
        fashion_mnist: Folder of the Fashion-MNIST files.
        count: Images of each population; slow methods take a share.
        without: Variants that are left out.
    """

    def __init__(self, laboratory: Laboratory, fashion_mnist: Path, count: int, without: Sequence[str] = ()) -> None:
        self.laboratory, self.count, self.without = laboratory, count, without
        self.calibration = laboratory.methods["verdict"].calibration
        self.base = laboratory.methods["verdict"].config
        self._tests = laboratory.work / "populations"
        write_populations(self._tests, fashion_mnist, count, calibration=False)

    def measure(self, method: str, config: ProjectConfig, population: str, count: int) -> list[Measurement]:
        """Measure the first images of a population under a method."""
        folder = self._tests / "test" / population
        return self.laboratory.measure(f"distances/{method}", config, folder, population, count)

    def own(self, method: str, config: ProjectConfig, count: int) -> list[Measurement]:
        """Measure own images as the calibration has them: half with stored, half with random noise maps."""
        return [one for name in (OWN, RANDOM) for one in self.measure(method, config, name, count // 2)]

    def seconds(self, method: str) -> float:
        """Return the processor seconds of a place in a batch, start-up and measuring included; NaN: unknown."""
        return self.laboratory.seconds(f"distances/{method}")

    def share(self, parts: int) -> int:
        """Return how many images of a population a slow measurement takes: one part, but no fewer than four."""
        return max(self.count // parts, 4)


def add_clean(text: Text, bench: Distances) -> None:
    """Add the tables of the calibrated verdict on images as they are."""
    own = bench.own("verdict", bench.base, 2 * bench.count)
    measured = {name: bench.measure("verdict", bench.base, name, bench.count) for name in OTHERS}
    measured |= {name: bench.measure("verdict", bench.base, name, bench.share(5)) for name in TRUNCATED}
    text.say(
        f"{bench.count} images of each, twice as many own ones: half drawn with the noise maps in the file, half",
        "with random ones. It was made with real images and B's; C and the training images had no part in it.",
        "Steps and noise of the method were chosen on the first 100 of each (60 of own ones with random maps) alone.",
        "Intervals are 95 %. Not thresholds but ranks are compared in the columns of AUC and TPR.",
    )
    for table in tables(evaluate(bench.calibration, {OWN: own, **{name: measured[name] for name in OTHERS}})):
        text.table(table)
    half = len(own) // 2
    kinds = {"stored noise maps": own[:half], "random noise maps": own[half:]}
    kinds |= {f"stored maps, {name.removeprefix('own ')}": measured[name] for name in TRUNCATED}
    rows = [
        (name, *(str(attributed(bench.calibration, score, found)) for score in SCORES)) for name, found in kinds.items()
    ]
    text.table(Table(rows, ("own images with", *SCORES), "Own images attributed, by kind"))
    _add_single(text, {OWN: own, **measured})


def _add_single(text: Text, measured: Measured) -> None:
    """Add the areas of single numbers: what the score is better than."""
    rows = []
    for feature in ALONE:
        values = {name: np.array([one.evidence[feature] for one in measured[name]]) for name in (OWN, *OTHERS)}
        areas = [auc(values[OWN], values[name]) for name in OTHERS]
        rows.append((feature, *(f"{area:.3f}" for area in areas)))
    caption = "AUC of single numbers, lower being more like the network's own; under 0.5 it is the other way round"
    text.table(Table(rows, ("number", *OTHERS), caption))


def add_chance(text: Text, bench: Distances) -> None:
    """Add what another seed of the optimiser changes."""
    count = bench.share(15)
    text.say(f"{count} images of each, measured again with other random numbers.")
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
    text.table(Table(rows, header))


def folds(found: Measured, features: Sequence[str], fitted: Sequence[str]) -> dict[str, np.ndarray]:
    """Return scores of two-fold cross-validation; populations not among `fitted` are only ever scored."""
    out = {name: np.full(len(rows), np.nan) for name, rows in found.items()}
    for fold in (0, 1):
        part = {name: [one.evidence for i, one in enumerate(rows) if i % 2 != fold] for name, rows in found.items()}
        score = EvidenceScore.fit(part[OWN], {name: part[name] for name in fitted}, features)
        for name, rows in found.items():
            out[name][fold::2] = [score(one.evidence) for one in rows[fold::2]]
    return out


def add_methods(text: Text, bench: Distances) -> None:
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
    text.say(
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
            "evidence": folds(found, [f for f, one in FEATURES.items() if not one.of_exact], ("real", "B")),
        }
        seconds = bench.seconds(name)
        for score, values in scores.items():
            label = (name, str(count), _known(seconds)) if score == "lpips" else ("", "", "")
            rows.append((*label, score, *_separation(values, seconds)))
    first = ("method", "n", "s per image", "score", "AUC real", "AUC B", "AUC C")
    header = (
        *first,
        "TPR at 5 % FPR: real",
        "B",
        "C",
        "TPR at 1 % FPR: real",
        "B",
        "C",
        "B, random noise",
        "B at 1 %, per s",
    )
    text.table(Table(rows, header))


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
