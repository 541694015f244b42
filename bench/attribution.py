"""How well network A's pictures are told from others: the tables of bench/attribution.md.

    python -m bench.attribution [--count 300] [--curve 40] [--perturbed 40] [--work runs/attribution]

The calibration is the one in data/networks; C's pictures, and those of the training set, had no part in it. Everything
that is measured is kept in the work folder, so that the same command goes on where it was stopped.
"""

import argparse
import dataclasses
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.stats import spearmanr

from bench.populations import FASHION_MNIST, NETWORKS, write_populations
from generator.loaders import load
from invert.attribution.calibration import Calibration
from invert.attribution.calibration_file import read_calibration
from invert.attribution.evidence import FEATURES
from invert.attribution.measuring import Measurement, MeasuringPreparation, measure_population
from invert.attribution.perturbations import apply, parse_perturbations
from invert.attribution.scores import EvidenceScore
from invert.attribution.verdict import judge
from invert.batch.pictures import list_pictures
from invert.config import STEPS, ProjectConfig, config_of
from invert.durable import ensure_folder, write_atomic
from invert.images import ImagePolicy, to_png_bytes
from invert.statistics.intervals import auc, auc_interval, clopper_pearson, tpr_at_fpr
from invert.statistics.likelihood import cllr, cllr_min
from invert.statistics.thresholds import conformal, grubbs, kde95, neyman_pearson, quantile

NETWORK = NETWORKS / "A.safetensors"
CALIBRATION = NETWORKS / "A.calibration.json"
NEGATIVES = ("real", "training", "B", "C")
PERTURBATIONS = ("jpeg:75", "resize:0.5", "blur:1", "noise:5", "crop:0.05")
SCORES = ("evidence", "lpips")
SMALL = ("latent_mahalanobis", "latent_distance", "lpips", "complexity")

Measured = Mapping[str, Sequence[Measurement]]


class Bench:
    """Measure populations under several methods, and write what is found."""

    def __init__(self, work: Path, count: int, curve: int, perturbed: int, source: Path) -> None:
        self.work, self.count, self.curve, self.perturbed = work, count, curve, perturbed
        write_populations(work / "populations", source, count, calibration=False)
        self.calibration: Calibration = read_calibration(CALIBRATION)
        self.loaded = load(NETWORK)
        self.base = dataclasses.replace(
            config_of(dict(self.calibration.method)), batch=32, threads=1, device="cpu", seed=0
        )
        self.lines: list[str] = []
        self.seconds: dict[str, float] = {}

    def measure(
        self, name: str, config: ProjectConfig, population: str, count: int, folder: Path | None = None
    ) -> list[Measurement]:
        """Measure the first pictures of a population under a method; seconds per picture are kept where all are new."""
        source = folder or self.work / "populations" / "test" / population
        listed = list(list_pictures([source]))[:count]
        out = self.work / "measured" / name / population
        before = len(list(out.glob("*.json")))
        preparation = MeasuringPreparation(out, NETWORK, self.loaded.provenance.sha256, config, ImagePolicy())
        started = time.perf_counter()
        found, failed = measure_population(preparation, listed, os.cpu_count() or 1, lambda _: None)
        if before == 0 and found:
            write_atomic(out.with_suffix(".seconds"), f"{(time.perf_counter() - started) / len(found)}".encode())
        stamp = out.with_suffix(".seconds")
        if stamp.exists():
            self.seconds[name] = max(self.seconds.get(name, 0), float(stamp.read_text()))
        if failed:
            raise RuntimeError(f"{failed} pictures of {population} could not be measured")
        print(f"{name}: {len(found)} of {population}", file=sys.stderr, flush=True)
        return found

    def say(self, *lines: str) -> None:
        """Add lines to the file."""
        self.lines += lines

    def scores(self, name: str, found: Sequence[Measurement]) -> np.ndarray:
        """Return a score of each picture."""
        return np.array([self.calibration.score(name, one) for one in found])


def percent(count: int, total: int) -> str:
    """Return a share with its exact 95 % interval."""
    low, high = clopper_pearson(count, total)
    return f"{100 * count / total:.1f} % ({100 * low:.1f}-{100 * high:.1f})"


def separation(bench: Bench, measured: Measured) -> None:
    """Table 1: how well own pictures are told from each population."""
    own = measured["own"]
    bench.say(
        "## Own pictures against each population",
        "",
        f"{len(own)} pictures of each; calibrated on real pictures and B's, the threshold promises 1 % with 95 %",
        "confidence (the strictest of the two). C and the training pictures had no part in it. Intervals are 95 %.",
        "",
        "| score | against | AUC | TPR at 1 % FPR | TPR at 5 % FPR | attributed by mistake |",
        "|---|---|---|---|---|---|",
    )
    for score in SCORES:
        positives = bench.scores(score, own)
        for name in NEGATIVES:
            negatives = bench.scores(score, measured[name])
            low, high = auc_interval(positives, negatives)
            points = [tpr_at_fpr(positives, negatives, rate) for rate in (0.01, 0.05)]
            rates = [f"{100 * p.tpr:.1f} % ({100 * p.low:.1f}-{100 * p.high:.1f})" for p in points]
            wrong = sum(below(bench, score, one) for one in measured[name])
            area = f"{auc(positives, negatives):.3f} ({low:.3f}-{high:.3f})"
            bench.say(f"| {score} | {name} | {area} | {' | '.join(rates)} | {percent(wrong, len(negatives))} |")
        right = sum(below(bench, score, one) for one in own)
        bench.say(f"| {score} | own pictures attributed | | | | {percent(right, len(own))} |")
    bench.say("")


def below(bench: Bench, score: str, one: Measurement) -> bool:
    """Tell whether the calibrated threshold attributes a picture."""
    return bench.calibration.score(score, one) < bench.calibration.threshold(score, one.complexity)[1].value


def verdicts(bench: Bench, measured: Measured) -> None:
    """Table 2: verdicts as `invert attribute` gives them."""
    bench.say(
        "## Verdicts",
        "",
        "| pictures of | n | attributed to A | none of these | cannot tell |",
        "|---|---|---|---|---|",
    )
    for name, found in measured.items():
        outcomes = [str(judge(bench.calibration, one, "A").outcome) for one in found]
        cells = [percent(outcomes.count(kind), len(found)) for kind in ("attributed", "none of these", "cannot tell")]
        bench.say(f"| {name} | {len(found)} | {' | '.join(cells)} |")
    bench.say("")


def rules(bench: Bench, measured: Measured) -> None:
    """Table 3: rules compared, each set on the calibration's own scores."""
    made = bench.calibration
    bench.say(
        "## Rules compared",
        "",
        "Each at 1 %, set on the calibration's pictures (the strictest of its populations), evidence score. Grubbs'",
        "rule and the 95 % point of a density look at own pictures alone and have no control of false positives.",
        "",
        "| rule | own attributed | " + " | ".join(NEGATIVES) + " |",
        "|---|---|" + "---|" * len(NEGATIVES),
    )
    others = [made.scores("evidence", population, "threshold") for population in made.others]
    own = made.scores("evidence", made.own, "threshold")
    found = {
        "Neyman-Pearson": min(neyman_pearson(scores, 0.01).value for scores in others),
        "conformal": min(conformal(scores, 0.01).value for scores in others),
        "1 % quantile": min(quantile(scores, 0.01).value for scores in others),
        "Grubbs": grubbs(own).value,
        "95 % of a density": kde95(own).value,
    }
    for rule, value in found.items():
        cells = [
            percent(int((bench.scores("evidence", measured[n]) < value).sum()), len(measured[n]))
            for n in ("own", *NEGATIVES)
        ]
        bench.say(f"| {rule} | {' | '.join(cells)} |")
    bench.say("")


def quality(bench: Bench, measured: Measured) -> None:
    """Table 4: likelihood ratios, complexity and baselines."""
    made = bench.calibration
    bench.say(
        "## Likelihood ratios, complexity, baselines",
        "",
        "| score | against | Cllr | Cllr min | Spearman of score and complexity among the others | AUC |",
        "|---|---|---|---|---|---|",
    )
    for score in SCORES:
        for name in ("real", "B", "C"):
            values = [
                np.min([model.ratio(bench.scores(score, measured[n])) for model in made.likelihood(score)], axis=0)
                for n in ("own", name)
            ]
            rho = spearmanr(bench.scores(score, measured[name]), [one.complexity for one in measured[name]]).statistic
            area = auc(bench.scores(score, measured["own"]), bench.scores(score, measured[name]))
            bench.say(f"| {score} | {name} | {cllr(*values):.2f} | {cllr_min(*values):.2f} | {rho:.2f} | {area:.3f} |")
    for baseline in ("complexity", "pixel_rmse", "lpips_alex", "latent_distance", "latent_mahalanobis"):
        for name in ("real", "B", "C"):
            values = [np.array([one.evidence[baseline] for one in measured[n]]) for n in ("own", name)]
            area = auc(*values)
            bench.say(f"| {baseline} alone | {name} | | | | {max(area, 1 - area):.3f} |")
    bench.say("")
    edges = np.quantile([one.complexity for one in measured["real"]], [0.2, 0.4, 0.6, 0.8])
    bench.say("| fifth of complexity | real pictures attributed by evidence | by LPIPS |", "|---|---|---|")
    groups = np.digitize([one.complexity for one in measured["real"]], edges)
    for fifth in range(5):
        chosen = [one for one, group in zip(measured["real"], groups, strict=True) if group == fifth]
        cells = [percent(sum(below(bench, score, one) for one in chosen), len(chosen)) for score in SCORES]
        bench.say(f"| {fifth + 1} | {' | '.join(cells)} |")
    bench.say("")


def folds(
    positives: Sequence[Measurement], negatives: Measured, features: Sequence[str], fitted: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return scores of two-fold cross-validation; populations not among `fitted` are only ever scored."""
    groups = {"own": positives, **negatives}
    out = {name: np.full(len(found), np.nan) for name, found in groups.items()}
    for fold in (0, 1):
        part = {name: [one.evidence for i, one in enumerate(found) if i % 2 != fold] for name, found in groups.items()}
        score = EvidenceScore.fit(part["own"], {name: part[name] for name in fitted}, features)
        for name, found in groups.items():
            for i, one in enumerate(found):
                if i % 2 == fold:
                    out[name][i] = score(one.evidence)
    return out


def variants(bench: Bench) -> None:
    """Table 5: other steps, starts, backbones, noise and restarts, on fewer pictures."""
    n = bench.curve
    base = bench.base
    paper = ProjectConfig(preset="paper", steps=STEPS["paper"], batch=32, threads=1, device="cpu")
    cases = {f"verdict, {steps} steps": dataclasses.replace(base, steps=steps) for steps in (50, 100, 200, 500, 1000)}
    cases |= {
        "verdict, 100 steps, alex": dataclasses.replace(base, lpips="alex"),
        "verdict, 100 steps, noise fixed": dataclasses.replace(base, noise="fixed"),
        "verdict, 100 steps, bfloat16": dataclasses.replace(base, precision="bfloat16"),
        "verdict, 50 steps, best of 2": dataclasses.replace(base, steps=50, restarts=2),
        "paper, 300 steps": dataclasses.replace(paper, steps=300),
        "paper, 1000 steps": paper,
    }
    bench.say(
        "## Steps, starts, backbones",
        "",
        f"{n} pictures of each population, so intervals of about 0.05. Evidence here is cross-validated in two folds,",
        "fitted on own, real and B's pictures; `small` uses four numbers of it: " + ", ".join(SMALL) + ".",
        "",
        "| method | s per picture | score | AUC real | AUC B | AUC C | TPR at 1 % FPR real | B | C |",
        "|---|---|---|---|---|---|---|---|---|",
    )
    for name, config in cases.items():
        found = {p: bench.measure(name, config, p, n) for p in ("own", "real", "B", "C")}
        negatives = {p: found[p] for p in ("real", "B", "C")}
        columns = {
            "lpips": {p: np.array([one.evidence["lpips"] for one in rows]) for p, rows in found.items()},
            "curve": folds(found["own"], negatives, [f for f in FEATURES if f.startswith("lpips")], ("real", "B")),
            "small": folds(found["own"], negatives, SMALL, ("real", "B")),
            "evidence": folds(found["own"], negatives, FEATURES, ("real", "B")),
        }
        for score, values in columns.items():
            areas = [f"{auc(values['own'], values[p]):.3f}" for p in negatives]
            rates = [f"{tpr_at_fpr(values['own'], values[p], 0.01).tpr:.2f}" for p in negatives]
            seconds = f"{bench.seconds.get(name, float('nan')):.2f}" if score == "lpips" else ""
            label = name if score == "lpips" else ""
            bench.say(f"| {label} | {seconds} | {score} | {' | '.join(areas)} | {' | '.join(rates)} |")
    bench.say("")


def perturbed(bench: Bench) -> None:
    """Table 6: what a little processing does to misses and mistakes."""
    n = bench.perturbed
    bench.say(
        "## Perturbed pictures, clean threshold",
        "",
        f"{n} pictures of each population; the threshold, and the score, are those of clean pictures.",
        "",
        "| perturbation | score | own attributed | real attributed | B attributed | AUC real | AUC B |",
        "|---|---|---|---|---|---|---|",
    )
    for key in ("none", *PERTURBATIONS):
        found = {}
        for population in ("own", "real", "B"):
            clean = bench.work / "populations" / "test" / population
            folder = clean if key == "none" else perturbed_folder(bench, clean, key, n)
            found[population] = bench.measure(f"perturbed {key}", bench.base, population, n, folder)
        for score in SCORES:
            values = {p: bench.scores(score, rows) for p, rows in found.items()}
            cells = [percent(sum(below(bench, score, one) for one in rows), len(rows)) for rows in found.values()]
            areas = [f"{auc(values['own'], values[p]):.3f}" for p in ("real", "B")]
            bench.say(f"| {key} | {score} | {' | '.join(cells)} | {' | '.join(areas)} |")
    bench.say("")


def perturbed_folder(bench: Bench, clean: Path, key: str, count: int) -> Path:
    """Write perturbed copies of the first pictures of a folder."""
    folder = ensure_folder(bench.work / "populations" / key.replace(":", "-") / clean.name)
    (perturbation,) = parse_perturbations(key)
    for path in sorted(clean.iterdir())[:count]:
        if not (folder / path.name).exists():
            array = np.asarray(Image.open(path))
            array = array[:, :, None] if array.ndim == 2 else array
            write_atomic(folder / path.name, to_png_bytes(apply(array, perturbation, path.name)))
    return folder


def main() -> None:
    """Measure everything and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--curve", type=int, default=40)
    parser.add_argument("--perturbed", type=int, default=40)
    parser.add_argument("--work", type=Path, default=Path("runs/attribution"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "attribution.md")
    parser.add_argument("--fashion-mnist", type=Path, default=FASHION_MNIST)
    parser.add_argument("--only", choices=["separation", "variants", "perturbed"], action="append", default=[])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(arguments.work, arguments.count, arguments.curve, arguments.perturbed, arguments.fashion_mnist)
    bench.say(
        "# Attribution to network A, measured",
        "",
        "32 x 32 networks of garments; nothing here implies the same rates for photographs or larger networks.",
        f"Made by `make benchmark-attribution`: {' '.join(sys.argv[1:]) or 'default settings'}; "
        f"{os.cpu_count()} processors ({platform.machine()}), torch {torch.__version__}, "
        f"method {bench.calibration.digest[:16]}, network {bench.loaded.provenance.sha256[:16]}.",
        "",
    )
    chosen = arguments.only or ["separation", "perturbed", "variants"]
    if "separation" in chosen:
        populations = ("own", *NEGATIVES, "own psi 0.7", "own psi 0.5")
        measured = {name: bench.measure("verdict", bench.base, name, arguments.count) for name in populations}
        separation(bench, measured)
        verdicts(bench, measured)
        rules(bench, measured)
        quality(bench, measured)
    if "perturbed" in chosen:
        perturbed(bench)
    if "variants" in chosen:
        variants(bench)
    write_atomic(arguments.out, "\n".join(bench.lines).encode() + b"\n")


if __name__ == "__main__":
    main()
