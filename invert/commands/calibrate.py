"""`invert calibrate`: measure a network's own images and others, and set the thresholds that keep a stated rate."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from invert import __version__
from invert.attribution.settings import OWN, RULES, SCORES, CalibrationSettings
from invert.batch.images import Listed
from invert.cli import options
from invert.cli.output import Output
from invert.commands.measuring import NAME, PopulationMeter, list_population
from invert.durable import ensure_folder, exclusive_lock, write_atomic
from invert.errors import ExitCode, OutputError, UsageError, display_path
from invert.images.decoding import ImagePolicy
from invert.projection.config import ProjectConfig, with_defaults

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork
    from invert.attribution.calibration import Calibration
    from invert.attribution.measurements import Measurement

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
            images = _list(real, others, output)
            _announce(images, count, settings, output)
            loaded = options.load_network(network_path, output)
            run = _Calibrating(network_path, loaded, config, workers, work, output)
            if earlier_path is not None:
                run.start_from(earlier_path)
            made, failed = run.calibrate(images, count, settings)
            _write(made, out, output)
            from invert.attribution.measurements import clear_measurements

            clear_measurements(work)
        _tell(made, out, failed, output)
    return ExitCode.PARTIAL if failed else ExitCode.OK


def _list(real: Path, others: Sequence[str], output: Output) -> dict[str, tuple[str, list[Listed]]]:
    """Return source and images of each population but the network's own."""
    named = [("real", real)]
    for text in others:
        name, separator, folder = text.partition("=")
        path = Path(folder) if separator else Path(text)
        named.append((name if separator else path.resolve().name, path))
    found: dict[str, tuple[str, list[Listed]]] = {}
    for name, path in named:
        if not NAME.fullmatch(name) or name == OWN or name in found:
            reason = f"population {name!r} needs another name: letters and digits, not {OWN!r}, each name once"
            raise UsageError(reason, advice="Give it as --other NAME=DIR.")
        found[name] = (path.resolve().name, list_population(path))
    return found


def _announce(
    images: dict[str, tuple[str, list[Listed]]], count: int, settings: CalibrationSettings, output: Output
) -> None:
    """Say what the rate takes, and refuse at once what can only end in a refusal."""
    from invert.attribution.calibration import required_images, too_few
    from invert.attribution.verdict import OWN_TO_RULE_OUT

    needed = required_images(settings)
    listed = ", ".join(f"{len(items)} of {name}" for name, (_, items) in images.items())
    output.note(
        f"a rate of {settings.rate:g} needs {needed} images of each population that is not the network's; "
        f"there are {listed}, and {count} samples of its own will be drawn"
    )
    if count < OWN_TO_RULE_OUT:
        output.note(f"fewer than {OWN_TO_RULE_OUT} own samples can rule no image out: none gets 'none of these'")
    for name, (_, items) in images.items():
        if len(items) < needed:
            raise too_few(name, len(items), needed, settings)


class _Calibrating:
    def __init__(
        self,
        network_path: Path,
        loaded: "LoadedNetwork",
        config: ProjectConfig,
        workers: int | None,
        work: Path,
        output: Output,
    ) -> None:
        import torch

        from invert.attribution.measurements import attribution_method
        from invert.batch.preparation import batch_size
        from invert.projection.config import method_record
        from invert.projection.projector import prepare_process, run_record
        from invert.projection.session import settle_bank

        self._loaded, self._work, self._output = loaded, work, output
        kind = options.device_kind(config.device)
        resolution = loaded.generator.config.synthesis.img_resolution
        config = dataclasses.replace(
            settle_bank(config, resolution),
            device=kind,
            threads=config.threads or 1,
            batch=config.batch or batch_size(resolution, kind, 1 << 20),
        )
        self._policy = policy = ImagePolicy()
        processes = workers or (1 if kind == "cuda" else os.cpu_count() or 1)
        self._meter = PopulationMeter(network_path, loaded, config, policy, processes, output)
        prepare_process(kind, config.threads, output.note)
        options.check_class(loaded.generator.config.mapping.c_dim, config.class_index, required=False)
        self._earlier: Calibration | None = None
        self._run = run_record(config, config.batch or 1, torch.device(kind))
        self._method = attribution_method(method_record(config, loaded.provenance.sha256, policy.record()))

    def start_from(self, path: Path) -> None:
        """Take over what an earlier calibration measured."""
        from invert.attribution.calibration_file import read_calibration
        from invert.attribution.populations import check_same

        self._earlier = read_calibration(path)
        check_same(self._earlier, path, self._method, self._run)

    def calibrate(
        self, images: dict[str, tuple[str, list[Listed]]], count: int, settings: CalibrationSettings
    ) -> tuple["Calibration", int]:
        """Measure all populations; return the calibration, and how many images have no measurement."""
        from invert.attribution.calibration import Population, make_calibration
        from invert.attribution.measurements import begin_measurements
        from invert.attribution.populations import FIRST_SEED, SAMPLE_NOISE, SAMPLES_VERSION, draw_samples

        begin_measurements(self._work, self._method, self._run)
        samples = self._work / f"samples-{SAMPLES_VERSION}"
        drawn = [Listed(path.name.encode(), path) for path in self._drawn(draw_samples, samples, count)]
        source = f"seeds {FIRST_SEED} to {FIRST_SEED + count - 1} of the network, no truncation; {SAMPLE_NOISE}"
        everything = {OWN: (source, drawn), **images}
        self._meter.begin(sum(len(items) for _, items in everything.values()))
        failed = 0
        populations: list[Population] = []
        for name, (where, items) in everything.items():
            found = self._measure(name, items)
            without = len(items) - len(found)
            failed += without
            populations.append(Population.of(name, where, found, without))
        provenance = self._loaded.provenance
        network = {
            "sha256": provenance.sha256,
            "weights_sha256": provenance.weights_sha256,
            "family": provenance.family,
            "resolution": self._loaded.generator.config.synthesis.img_resolution,
        }
        own, *others = populations
        made = make_calibration(
            settings, own, others, method=self._method, run=self._run, network=network, tool=__version__
        )
        return made, failed

    def _drawn(self, draw: Any, folder: Path, count: int) -> Iterator[Path]:
        self._output.note(f"drawing {count} samples of the network")
        yield from draw(self._loaded.generator.cpu(), folder, count, self._meter.config.class_index)

    def _measure(self, name: str, items: list[Listed]) -> "list[Measurement]":
        folder = self._work / "populations" / name
        if self._earlier is not None:
            from invert.attribution.populations import take_over

            ensure_folder(folder)
            taken = take_over(self._earlier, items, folder, self._loaded.generator, self._policy)
            self._output.note(f"{taken} of {len(items)} measurements of {name} are taken over")
        return self._meter.measure(items, folder)


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
    from invert.statistics.intervals import clopper_pearson

    lines = [f"{'population':<16} {'images':>8}  {'held out':>8}  attributed by evidence, by LPIPS"]
    record: dict[str, Any] = {"type": "summary", "code": "calibrated", "out": os.fspath(out), "failed": failed}
    record["held_out"] = {}
    for population in (made.own, *made.others):
        shown: list[str] = []
        counts: dict[str, dict[str, Any]] = {}
        for score in ("evidence", "lpips"):
            count, total = made.attributed(score, population)
            low, high = clopper_pearson(count, total)
            counts[score] = {"attributed": count, "of": total, "low": low, "high": high}
            shown.append(f"{count} ({100 * low:.1f} to {100 * high:.1f} %)")
        record["held_out"][population.name] = counts
        total = counts["lpips"]["of"]
        lines.append(f"{population.name:<16} {len(population.measurements):>8}  {total:>8}  {', '.join(shown)}")
    record["method_digest"] = made.digest
    lines.append(f"wrote {display_path(out)}; {made.settings.score} decides, by the {made.settings.rule} rule")
    output.result(record, *lines)
