"""`invert evaluate`: how well a calibration does on images that it has not seen."""

import dataclasses
import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from invert import __version__
from invert.attribution.settings import OWN
from invert.batch.images import Listed
from invert.cli import options
from invert.cli.output import Output
from invert.commands.measuring import NAME, PopulationMeter, list_population
from invert.durable import ensure_folder, exclusive_lock, write_atomic
from invert.errors import ExitCode, ImageError, UsageError, display_path
from invert.images.decoding import ImagePolicy
from invert.projection.config import ProjectConfig

if TYPE_CHECKING:
    from invert.attribution.calibration import Calibration
    from invert.attribution.evaluation import Evaluation
    from invert.attribution.measurements import Measurement
    from invert.attribution.perturbations import Perturbation

__all__ = ["evaluate"]

_RESULTS = ("evaluation.json", "evaluation.html", "histograms.png", "roc.png")


@options.command(
    short_help="Measure how well a calibration does on other images.",
    examples=(
        "invert evaluate --network ffhq.pkl --positive samples/ --negative real=photos/",
        'invert evaluate --network ffhq.pkl --positive samples/ --negative real=photos/ --perturb "jpeg:90,75 blur:1"',
    ),
)
@options.network(required=False)
@options.option(
    "--calibration",
    "calibration_path",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Calibration of the network.  [default: looked up as by 'invert attribute']",
)
@options.option(
    "--positive",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder of images that the network synthesised.",
)
@options.option(
    "--negative",
    "negatives",
    required=True,
    multiple=True,
    metavar="NAME=DIR",
    help="Folder of images of another origin, with a name for them; may be given several times.",
)
@options.option(
    "--perturb",
    multiple=True,
    metavar="LIST",
    help='Evaluate also on perturbed images, such as "jpeg:90,75 resize:0.5 blur:1".',
)
@options.option("--count", type=click.IntRange(min=1), metavar="K", help="Take only the first K images of each folder.")
@options.option(
    "--out",
    default=Path("evaluation"),
    show_default=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder of the results.",
)
@options.settings(ProjectConfig, only=("batch", "threads", "device"), defaults={"threads": 1})
@options.workers(None, help="Processes that share the images.  [default: one per processor]")
@options.as_json
@options.quiet
@options.overwrite
def evaluate(
    network_path: Path | None,
    calibration_path: Path | None,
    positive: Path,
    negatives: tuple[str, ...],
    perturb: tuple[str, ...],
    count: int | None,
    out: Path,
    workers: int | None,
    threads: int,
    batch: int | None,
    device: str,
    as_json: bool,
    quiet: bool,
    overwrite: bool,
) -> int:
    """Measure images whose origin is known, and compare what the calibration says of them with it.

    This writes evaluation.json, evaluation.html, histograms.png (the distances, as in figure 10 of the StyleGAN2
    paper) and roc.png. The settings of the method are the calibration's. The same command again resumes where it was
    stopped.
    """
    from invert.attribution.perturbations import parse_perturbations

    kinds = list(dict.fromkeys(parse_perturbations(" ".join(perturb))))
    with Output(as_json=as_json, quiet=quiet) as output:
        # A work folder that is still there says that what lies beside it may not be all.
        finished = not (out / "work").exists() and any((out / name).exists() for name in _RESULTS)
        if finished and not overwrite:
            raise UsageError(
                "holds an evaluation already", path=out, advice="Add --overwrite, or choose another --out."
            )
        folders = {OWN: positive, **_named(negatives)}
        images = {name: list_population(folder)[:count] for name, folder in folders.items()}
        ensure_folder(out)
        with exclusive_lock(out / ".lock", out):
            network_path = options.network_or_default(network_path, output)
            run = _Evaluating(network_path, calibration_path, device, threads, batch, workers, out / "work", output)
            return run.evaluate(images, kinds, out)


def _named(texts: Sequence[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for text in texts:
        name, separator, folder = text.partition("=")
        if not separator or not NAME.fullmatch(name) or name in found or name == OWN:
            reason = f"--negative {text!r} is not NAME=DIR: letters and digits, not {OWN!r}, each name once"
            raise UsageError(reason)
        found[name] = Path(folder)
    return found


class _Evaluating:
    def __init__(
        self,
        network_path: Path,
        calibration_path: Path | None,
        device: str,
        threads: int,
        batch: int | None,
        workers: int | None,
        work: Path,
        output: Output,
    ) -> None:
        import torch

        from invert.attribution.calibration_file import find_calibration
        from invert.attribution.candidate import settings_for
        from invert.attribution.measurements import begin_measurements
        from invert.batch.preparation import batch_size
        from invert.projection.projector import prepare_process, run_record

        self._path, self._work, self._output = network_path, work, output
        kind = options.device_kind(device)
        prepare_process(kind, threads, output.note)
        self._loaded = options.load_network(network_path, output)
        given = [calibration_path] if calibration_path is not None else []
        found = find_calibration(network_path, self._loaded.provenance.sha256, given)
        if found is None or (given and found[0] != calibration_path):
            reason = "the calibration is not of this network" if given else "there is no calibration of this network"
            path, advice = calibration_path or network_path, "Make one with 'invert calibrate'."
            raise UsageError(reason, path=path, advice=advice, code="no-calibration")
        self.calibration: Calibration = found[1]
        self._policy = ImagePolicy()
        config, method = settings_for(self._loaded, self._policy, {}, found[1], found[0])
        resolution = self._loaded.generator.config.synthesis.img_resolution
        size = batch or batch_size(resolution, kind, 1 << 20)
        config = dataclasses.replace(config, device=kind, threads=threads, batch=size)
        begin_measurements(work, method, run_record(config, size, torch.device(kind)))
        processes = workers or (1 if kind == "cuda" else os.cpu_count() or 1)
        self._meter = PopulationMeter(network_path, self._loaded, config, self._policy, processes, output)

    def evaluate(self, images: Mapping[str, list[Listed]], kinds: "Sequence[Perturbation]", out: Path) -> int:
        """Measure, evaluate, write, tell; return the exit code."""
        from invert.attribution.evaluation import evaluate as evaluate_measured
        from invert.attribution.evaluation import known, usable
        from invert.attribution.measurements import clear_measurements

        self._meter.begin((1 + len(kinds)) * sum(map(len, images.values())))
        clean = {name: self._measure(name, items, "none") for name, items in images.items()}
        notes = [self._note(name, known(self.calibration, found)) for name, found in clean.items()]
        evaluations = [evaluate_measured(self.calibration, clean[OWN], _others(clean))]
        for kind in kinds:
            found = {}
            for name, items in images.items():
                # What did not count as it is would only look as if it did: a copy has the network's size.
                counted = {one.name for one in usable(self.calibration, clean[name])}
                chosen = [item for item in items if item.name in counted]
                key = kind.key.replace(":", "-")
                found[name] = self._measure(name, list(self._perturbed(chosen, kind, key, name)), key)
            perturbed = evaluate_measured(self.calibration, found[OWN], _others(found), perturbation=kind.key)
            evaluations.append(perturbed)
        self._write(evaluations, [note for note in notes if note], out)
        clear_measurements(self._work)
        self._tell(evaluations, out)
        return ExitCode.PARTIAL if self._meter.failed else ExitCode.OK

    def _note(self, name: str, count: int) -> str:
        """Warn of images that the calibration was made with, and return what was said."""
        if not count:
            return ""
        note = f"the calibration was made with {count} of the images of {name}: its rates look better on them"
        self._output.warning(note)
        return f"{note[0].upper()}{note[1:]}."

    def _measure(self, name: str, items: list[Listed], key: str) -> "list[Measurement]":
        return self._meter.measure(items, self._work / "measured" / key / name)

    def _perturbed(self, items: Sequence[Listed], kind: "Perturbation", key: str, name: str) -> Iterator[Listed]:
        """Write perturbed copies as PNG, at the network's size, and list them; a copy is known by what it is of."""
        from invert.attribution.perturbations import apply
        from invert.batch.images import read_image
        from invert.images.decoding import to_png_bytes

        folder = ensure_folder(self._work / "perturbed" / key / name)
        synthesis = self._loaded.generator.config.synthesis
        for item in items:
            target = read_image(item, synthesis.img_resolution, synthesis.img_channels, self._policy)
            if isinstance(target, ImageError):
                self._output.error(str(target))
                self._meter.failed += 1
                continue
            path = folder / f"{target.pixel_sha256}.png"
            if not path.exists():
                write_atomic(path, to_png_bytes(apply(target.array, kind, target.pixel_sha256)))
            yield Listed(item.name, path)

    def _write(self, evaluations: "Sequence[Evaluation]", notes: Sequence[str], out: Path) -> None:
        from invert.attribution.report.charts import standalone
        from invert.attribution.report.evaluation import evaluation_page

        record = {
            "format": "invert evaluation",
            "invert": __version__,
            "network": dict(self.calibration.network),
            "method_digest": self.calibration.digest,
            "notes": list(notes),
            "evaluations": [one.to_record() for one in evaluations],
            "scores": [record for one in evaluations for record in one.score_records()],
        }
        command = shlex.join(["invert", *sys.argv[1:]])
        page = evaluation_page(self.calibration, self._path.stem, evaluations, command, notes)
        histograms, curves = standalone(self.calibration, evaluations[0])
        text = json.dumps(record, indent=1, allow_nan=False).encode() + b"\n"
        for name, data in zip(_RESULTS, (text, page, histograms, curves), strict=True):
            write_atomic(out / name, data)

    def _tell(self, evaluations: "Sequence[Evaluation]", out: Path) -> None:
        from invert.attribution.report.evaluation import overview_table, tables

        shown = tables(evaluations[0])
        if len(evaluations) > 1:
            shown.append(overview_table(evaluations))
        lines = [line for table in shown for line in (table.caption, *_columns([table.header, *table.rows]), "")]
        lines.append(f"written to {display_path(out)}: {', '.join(_RESULTS)}")
        record = {"type": "summary", "code": "evaluated", "out": os.fspath(out), "failed": self._meter.failed}
        self._output.result({**record, "evaluations": [one.to_record() for one in evaluations]}, *lines)


def _others(found: "Mapping[str, list[Measurement]]") -> "dict[str, list[Measurement]]":
    return {name: measurements for name, measurements in found.items() if name != OWN}


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
