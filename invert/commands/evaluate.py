"""`invert evaluate`: how well a calibration does on images that it has not seen."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from invert import __version__
from invert.attribution.settings import OWN
from invert.cli import options
from invert.cli.output import Output
from invert.cli.repeat import command_again
from invert.durable import ensure_folder, write_atomic
from invert.errors import ExitCode, UsageError, display_path
from invert.locking import exclusive_lock
from invert.projection.config import ProjectConfig

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork
    from invert.attribution.calibration_file import CalibrationFile
    from invert.attribution.evaluation import Evaluation

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
    type=options.Folder(),
    help="Folder of the results.",
)
@options.settings(ProjectConfig, only=("batch", "threads", "device"))
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
    as_json: bool,
    quiet: bool,
    overwrite: bool,
    **settings: Any,
) -> int:
    """Measure images whose origin is known, and compare what the calibration says of them with it.

    This writes evaluation.json, evaluation.html, histograms.png (the distances, as in figure 10 of the StyleGAN2
    paper) and roc.png. The settings of the method are the calibration's. The same command again resumes where it was
    stopped.
    """
    from invert.attribution.perturbations import parse_perturbations
    from invert.attribution.populations import list_population

    kinds = [one for one in dict.fromkeys(parse_perturbations(" ".join(perturb))) if one.steps]
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
        output.keeps()
        with exclusive_lock(out / ".lock", out):
            network_path = options.network_or_default(network_path, output)
            loaded = options.load_network(network_path, output)
            from invert.attribution.candidate import open_calibrated
            from invert.attribution.measurements import clear_measurements
            from invert.attribution.study import Study, count_workers

            found = _calibration(network_path, loaded, calibration_path, output)
            work = out / "work"
            shared: dict[str, Any] = {"workers": count_workers(workers, settings["device"]), "work": work}
            session = open_calibrated(loaded, settings, found, **shared, on_message=output.note)
            events = output.follow_batch((1 + len(kinds)) * sum(map(len, images.values())))
            study = Study(session, work, workers, events)
            evaluations: list[Evaluation] = []
            for evaluation in study.evaluate(found.calibration, images, kinds):
                if not evaluations:
                    notes = _warn(evaluation, output)
                evaluations.append(evaluation)
            _write(found, network_path.stem, evaluations, notes, out)
            clear_measurements(work)
            _tell(found, evaluations, out, events.failed, output)
    return ExitCode.PARTIAL if events.failed else ExitCode.OK


def _named(texts: Sequence[str]) -> dict[str, Path]:
    from invert.attribution.populations import check_names

    pairs = [text.partition("=") for text in texts]
    for text, (_, separator, _) in zip(texts, pairs, strict=True):
        if not separator:
            raise UsageError(f"--negative {text!r} is not NAME=DIR")
    check_names([name for name, _, _ in pairs], "Give it as --negative NAME=DIR.")
    return {name: Path(folder) for name, _, folder in pairs}


def _calibration(network: Path, loaded: "LoadedNetwork", given: Path | None, output: Output) -> "CalibrationFile":
    """Return the calibration of the network."""
    from invert.attribution.calibration_places import find_calibrations, warn_of_several

    sha256 = loaded.provenance.sha256
    found = find_calibrations(network, sha256, [] if given is None else [given], output.warning)
    if not found:
        reason = (
            "there is no calibration of this network" if given is None else "the calibration is not of this network"
        )
        advice = "Make one with 'invert calibrate'."
        raise UsageError(reason, path=given or network, advice=advice, code="no-calibration")
    warn_of_several(network.stem, found, output.warning)
    return found[0]


def _warn(evaluation: "Evaluation", output: Output) -> list[str]:
    """Warn of images that the calibration was made with, and return what was said."""
    notes = [
        f"the calibration was made with {count} of the images of {name}: its rates look better on them"
        for name, count in evaluation.known.items()
        if count
    ]
    for note in notes:
        output.warning(note)
    return [f"{note[0].upper()}{note[1:]}." for note in notes]


def _write(
    used: "CalibrationFile", network: str, evaluations: "Sequence[Evaluation]", notes: Sequence[str], out: Path
) -> None:
    calibration = used.calibration
    from invert.attribution.report.charts import standalone
    from invert.attribution.report.evaluation import evaluation_page

    page = evaluation_page(used, network, evaluations, command_again(calibration_path=used.path, overwrite=True), notes)
    record = {
        "format": "invert evaluation",
        "invert": __version__,
        "network": dict(calibration.network),
        "method_digest": calibration.digest,
        **_of_file(used),
        "notes": list(notes),
        "evaluations": [one.to_record() for one in evaluations],
        "scores": [record for one in evaluations for record in one.score_records()],
    }
    histograms, curves = standalone(calibration, evaluations[0])
    text = json.dumps(record, indent=1, allow_nan=False).encode() + b"\n"
    for name, data in zip(_RESULTS, (text, page, histograms, curves), strict=True):
        write_atomic(out / name, data)


def _of_file(used: "CalibrationFile") -> dict[str, Any]:
    path = None if used.path is None else os.fspath(used.path)
    return {"calibration": path, "calibration_sha256": used.sha256}


def _tell(used: "CalibrationFile", evaluations: "Sequence[Evaluation]", out: Path, failed: int, output: Output) -> None:
    from invert.attribution.report.evaluation import overview_table, tables

    shown = tables(evaluations[0])
    if len(evaluations) > 1:
        shown.append(overview_table(evaluations))
    lines = [line for table in shown for line in (table.caption, *_columns([table.header, *table.rows]), "")]
    lines.append(f"written to {display_path(out)}: {', '.join(_RESULTS)}")
    lines.append(f"calibration: {display_path(used.path or '-')}, sha256 {used.sha256}")
    record = {"type": "summary", "code": "evaluated", "out": os.fspath(out), "failed": failed, **_of_file(used)}
    output.result({**record, "evaluations": [one.to_record() for one in evaluations]}, *lines)


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
