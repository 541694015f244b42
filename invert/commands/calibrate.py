"""`invert calibrate`: measure a network's own images and others, and set the thresholds that keep a stated rate."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from invert import __version__
from invert.attribution.settings import RULES, SCORES, CalibrationSettings
from invert.batch.images import Listed
from invert.cli import options
from invert.cli.output import Output
from invert.durable import ensure_folder, exclusive_lock, write_atomic
from invert.errors import ExitCode, OutputError, UsageError, display_path
from invert.projection.config import ProjectConfig, with_defaults

if TYPE_CHECKING:
    from invert.attribution.calibration import Calibration

__all__ = ["calibrate"]

_PROMISE = "Thresholds"


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
    without=("seed",),
    defaults={"preset": "verdict", "threads": options.Unset("1")},
)
@options.workers(None, help="Processes that share the images.  [default: one per processor]")
@options.as_json
@options.quiet
@options.overwrite
def calibrate(
    network_path: Path | None,
    real: Path,
    others: tuple[str, ...],
    count: int,
    rate: float,
    confidence: float,
    candidates: int,
    score: str,
    rule: str,
    bins: int,
    out: Path | None,
    earlier_path: Path | None,
    workers: int | None,
    as_json: bool,
    quiet: bool,
    overwrite: bool,
    **given: Any,
) -> int:
    """Measure fresh samples of the network, and images that are not its own, and set thresholds on them.

    A threshold promises that at most --fpr of images like the others given are attributed to the network by mistake.
    The strictest threshold of the single populations is used. The same command again resumes where it was stopped.
    With --from, only images that the earlier calibration does not have are projected.
    """
    settings = CalibrationSettings(score, rule, rate, confidence, candidates, bins)
    config = ProjectConfig(**with_defaults(given))
    with Output(as_json=as_json, quiet=quiet) as output:
        network_path = options.network_or_default(network_path, output)
        out = out or network_path.with_suffix(".calibration.json")
        if out.exists() and not overwrite:
            raise UsageError("exists already", path=out, advice="Add --overwrite, or choose another -o.")
        work = out.with_name(out.name + ".work")
        ensure_folder(work)
        with exclusive_lock(work / ".lock", out):
            populations = _list(real, others)
            _announce(populations, count, settings, output)
            loaded = options.load_network(network_path, output)
            from invert.attribution.calibration_file import read_calibration
            from invert.attribution.measurements import clear_measurements
            from invert.attribution.study import open_study

            options.check_class(loaded.generator.config.mapping.c_dim, config.class_index, required=False)
            config = dataclasses.replace(config, device=options.device_kind(config.device))
            events = output.follow_batch(count + sum(len(images) for _, images in populations.values()))
            study = open_study(
                network_path, loaded, config, work, workers=workers, on_event=events, on_message=output.note
            )
            earlier = None if earlier_path is None else (earlier_path, read_calibration(earlier_path))
            made = study.calibrate(settings, populations, count, tool=__version__, earlier=earlier)
            _write(made, out, output)
            clear_measurements(work)
        _tell(made, out, events.failed, output)
    return ExitCode.PARTIAL if events.failed else ExitCode.OK


def _list(real: Path, others: Sequence[str]) -> dict[str, tuple[str, list[Listed]]]:
    """Return source and images of each population but the network's own."""
    from invert.attribution.populations import check_names, list_population

    named = [("real", real)]
    for text in others:
        name, separator, folder = text.partition("=")
        path = Path(folder) if separator else Path(text)
        named.append((name if separator else path.resolve().name, path))
    check_names([name for name, _ in named], "Give it as --other NAME=DIR.")
    return {name: (path.resolve().name, list_population(path)) for name, path in named}


def _announce(
    populations: dict[str, tuple[str, list[Listed]]], count: int, settings: CalibrationSettings, output: Output
) -> None:
    """Say what the rate takes, and refuse at once what can only end in a refusal."""
    from invert.attribution.calibration import check_sizes, required_images
    from invert.attribution.verdict import OWN_TO_RULE_OUT

    sizes = {name: len(images) for name, (_, images) in populations.items()}
    listed = ", ".join(f"{size} of {name}" for name, size in sizes.items())
    output.note(
        f"a rate of {settings.rate:g} needs {required_images(settings)} images of each population that is not the "
        f"network's; there are {listed}, and {count} samples of its own will be drawn"
    )
    if count < OWN_TO_RULE_OUT:
        output.note(f"fewer than {OWN_TO_RULE_OUT} own samples can rule no image out: none gets 'none of these'")
    check_sizes(settings, sizes)


def _write(made: "Calibration", out: Path, output: Output) -> None:
    from invert.attribution.calibration_file import cached_path, encode_calibration

    data = encode_calibration(made)
    write_atomic(out, data)
    cached = cached_path(made.network["sha256"])
    if cached is not None:
        try:
            ensure_folder(cached.parent)
            write_atomic(cached, data)
        except OutputError as error:
            output.note(f"no copy is kept for other folders: {error.reason}")


def _tell(made: "Calibration", out: Path, failed: int, output: Output) -> None:
    from invert.attribution.calibration_file import held_out

    lines = [f"{'population':<16} {'images':>8}  {'held out':>8}  attributed by {', by '.join(SCORES[::-1])}"]
    record: dict[str, Any] = {"type": "summary", "code": "calibrated", "out": os.fspath(out), "failed": failed}
    counts = held_out(made)
    record["held_out"] = {
        population.name: {score: counts[score][population.name] for score in SCORES[::-1]}
        for population in (made.own, *made.others)
    }
    for population in (made.own, *made.others):
        found = record["held_out"][population.name].values()
        shown = [f"{one['attributed']} ({100 * one['low']:.1f} to {100 * one['high']:.1f} %)" for one in found]
        total = counts["lpips"][population.name]["of"]
        lines.append(f"{population.name:<16} {len(population.measurements):>8}  {total:>8}  {', '.join(shown)}")
    record["method_digest"] = made.digest
    lines.append(f"wrote {display_path(out)}; {made.settings.score} decides, by the {made.settings.rule} rule")
    output.result(record, *lines)
