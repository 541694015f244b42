"""`invert calibrate`: measure a network's own images and others, and set the thresholds that keep a stated rate."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from invert import api
from invert.attribution.settings import RULES, SCORES
from invert.cli import options
from invert.cli.output import Output
from invert.commands import array
from invert.errors import ExitCode, UsageError, display_path
from invert.projection.config import ProjectConfig

if TYPE_CHECKING:
    from invert.attribution.calibration import Calibration

__all__ = ["calibrate"]

_PROMISE = "Thresholds"
_SHARED = "Shared work"


@options.command(
    short_help="Set the thresholds that verdicts need.",
    examples=(
        "invert calibrate --network ffhq.pkl --real photos/",
        "invert calibrate --network ffhq.pkl --real photos/ --other cats=cat-images/ --fpr 0.001",
    ),
)
@options.network(required=False)
@options.option(
    "--real",
    "real",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder of real images, like those that the network was trained on.",
)
@options.option(
    "--other",
    "others",
    multiple=True,
    metavar="[NAME=]DIR",
    help="Folder of images of another origin, such as another network; may be given several times.",
)
@options.option(
    "--count",
    default=400,
    show_default=True,
    type=click.IntRange(8, 1_000_000),
    help="Number of the network's own samples.",
)
@options.option(
    "--processing",
    metavar="LIST",
    help='Measure all images after each of these, such as "none jpeg:75 crop:0.02+jpeg:75", so that verdicts on such'
    " images keep the rate; for preset exact.  [default: 16 usual ones]",
)
@options.option(
    "-o",
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The calibration.  [default: NETWORK.calibration.json]",
)
@options.option(
    "--from",
    "earlier_path",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Earlier calibration of the same method, whose measurements are reused.",
)
@options.option(
    "--fpr",
    "rate",
    default=0.01,
    show_default=True,
    help="Rate of false attributions to promise.",
    group=_PROMISE,
)
@options.option(
    "--confidence",
    default=0.95,
    show_default=True,
    help="Confidence with which the rate is promised.",
    group=_PROMISE,
)
@options.option(
    "--candidates",
    default=1,
    show_default=True,
    help="Number of networks that share the rate in one verdict.",
    group=_PROMISE,
)
@options.option(
    "--score",
    default="evidence",
    show_default=True,
    type=click.Choice(SCORES),
    help="Score that decides.",
    group=_PROMISE,
)
@options.option(
    "--rule",
    default="neyman-pearson",
    show_default=True,
    type=click.Choice(RULES),
    help="Rule that sets the thresholds.",
    group=_PROMISE,
)
@options.option(
    "--bins",
    default=1,
    show_default=True,
    help="Number of bins of image complexity, each with thresholds of its own.",
    group=_PROMISE,
)
@options.settings(
    ProjectConfig,
    without=("seed", "processing"),
    defaults={"preset": "verdict"},
)
@options.workers(None, help="Processes that share the images.  [default: one per processor]", group=_SHARED)
@array.shard(_SHARED, "Measure share I of N of the images, and set no thresholds yet.")
@array.engine(_SHARED, "before the thresholds are set")
@options.as_json
@options.quiet
@options.overwrite
def calibrate(
    network_path: Path | None,
    real: Path,
    others: tuple[str, ...],
    count: int,
    processing: str | None,
    rate: float,
    confidence: float,
    candidates: int,
    score: str,
    rule: str,
    bins: int,
    out: Path | None,
    earlier_path: Path | None,
    workers: int | None,
    shard: tuple[int, int] | None,
    engine: str,
    shards: int,
    slurm: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    overwrite: bool,
    **given: Any,
) -> int:
    """Measure fresh samples of the network, and images that are not its own, and set thresholds on them.

    A threshold promises that at most --fpr of images like the others given are attributed to the network by mistake.
    The strictest threshold of the single populations is used. The same command again resumes where it was stopped.
    With --from, only images that the earlier calibration does not have are projected.

    With --preset exact what happened to an image is found out, and all images are measured after each --processing: the
    rate then holds after each of them. What was processed like nothing in the calibration is not judged.
    """
    given |= {"score": score, "rule": rule, "rate": rate, "confidence": confidence}
    given |= {"candidates": candidates, "bins": bins}
    if engine != "local" and (shard is not None or workers is not None):
        raise UsageError(f"--engine {engine} does not go with --shard or --workers")
    with Output(as_json=as_json, quiet=quiet) as output:
        network_path = options.network_or_default(network_path, output)
        out = out or network_path.with_suffix(".calibration.json")
        output.keeps("What was finished is kept: the same command resumes.")
        events = output.follow_batch(0)
        asked: dict[str, Any] = {"network": network_path, "real": real, "others": _named(others), "out": out}
        asked |= {"count": count, "processing": processing, "earlier": earlier_path, **given}
        told: dict[str, Any] = {"on_count": events.expect, "on_event": events}
        told |= {"on_message": output.note, "on_warning": output.warning}
        if shard is not None:
            measured = api.measure_share(shard=shard, workers=workers, **told, **asked)
            record = {"type": "summary", "code": "measured", "out": os.fspath(out), "measured": measured}
            line = f"{measured} images measured; when all shards are done, the same command without --shard"
            output.result({**record, "failed": events.failed}, line)
            return ExitCode.PARTIAL if events.failed else ExitCode.OK
        if engine == "slurm":
            command = _shard_command(asked)
            array.follow_array(command, shards, out, array.parse_parameters(slurm), "the images", output)
        made = api.calibrate(workers=workers, overwrite=overwrite, **told, **asked)
        _tell(made, out, events.failed, output)
    return ExitCode.PARTIAL if events.failed else ExitCode.OK


def _shard_command(asked: Mapping[str, Any]) -> list[str]:
    """Return the command of a shard, without its number."""
    command = [sys.executable, "-m", "invert", "calibrate", "--network", os.path.abspath(asked["network"]), "--quiet"]
    command += ["--real", os.path.abspath(asked["real"]), "-o", os.path.abspath(asked["out"])]
    for name, folder in asked["others"].items():
        command += ["--other", f"{name}={os.path.abspath(folder)}"]
    if asked["earlier"] is not None:
        command += ["--from", os.path.abspath(asked["earlier"])]
    for option in ("count", "rate", "confidence", "candidates", "score", "rule", "bins"):
        command += [f"--{'fpr' if option == 'rate' else option}", str(asked[option])]
    # One process in each job, which has its processors as threads.
    return [*command, "--workers", "1", *array.given_arguments(asked)]


def _named(texts: Sequence[str]) -> dict[str, Path]:
    """Return the folders of other populations by name."""
    from invert.attribution.populations import check_names

    pairs = []
    for text in texts:
        name, separator, folder = text.partition("=")
        path = Path(folder) if separator else Path(text)
        pairs.append((name if separator else path.resolve().name, path))
    check_names(["real", *(name for name, _ in pairs)], "Give it as --other NAME=DIR.")
    return dict(pairs)


def _tell(made: "Calibration", out: Path, failed: int, output: Output) -> None:
    from invert.attribution.calibration_file import held_out

    names = ", by ".join("LPIPS" if score == "lpips" else score for score in SCORES[::-1])
    width = max(16, *(len(one.label) for one in made.populations))
    lines = [f"{'population':<{width}} {'images':>8}  {'held out':>8}  attributed by {names}"]
    record: dict[str, Any] = {"type": "summary", "code": "calibrated", "out": os.fspath(out), "failed": failed}
    counts = held_out(made)
    record["held_out"] = {
        population.label: {score: counts[score][population.label] for score in SCORES[::-1]}
        for population in made.populations
    }
    for population in made.populations:
        found = record["held_out"][population.label].values()
        shown = [f"{one['attributed']} ({100 * one['low']:.1f} to {100 * one['high']:.1f} %)" for one in found]
        total = counts["lpips"][population.label]["of"]
        lines.append(f"{population.label:<{width}} {len(population.measurements):>8}  {total:>8}  {', '.join(shown)}")
    record["method_digest"] = made.digest
    lines.append(f"wrote {display_path(out)}; {made.settings.score} decides, by the {made.settings.rule} rule")
    output.result(record, *lines)
