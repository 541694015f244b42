"""`invert train-report`: show a training run as one HTML page."""

import math
from pathlib import Path
from typing import Any

import click

from invert.cli import options
from invert.cli.output import Output
from invert.durable import write_atomic
from invert.errors import OutputError, UnreadableError, UsageError, display_path
from invert.images.opening import read_head

__all__ = ["train_report"]

_REPORT = "report.html"


@options.command(
    "train-report",
    short_help="Show a training run as one HTML page.",
    examples=("invert train-report runs/small", "invert train-report runs/small --out small.html"),
)
@click.argument("run", metavar="RUN", type=click.Path(exists=True, file_okay=False, path_type=Path))
@options.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="The page.  [default: RUN/report.html]")
@options.as_json
@options.quiet
def train_report(run: Path, out: Path | None, as_json: bool, quiet: bool) -> None:
    """Show the training run in the folder RUN as one HTML page: samples, losses, scores, settings.

    RUN may be finished, stopped or at work. The page needs nothing beside it, runs no scripts and asks the network
    for nothing. An earlier report is replaced.
    """
    out = _destination(run, out)

    from invert.runs.report import training_report

    report = training_report(run)
    output = Output(as_json=as_json, quiet=quiet)
    for line in report.missing:
        output.warning(f"training run '{display_path(run)}': {line}")
    write_atomic(out, report.page)
    last = report.history.ticks[-1]
    record: dict[str, Any] = {
        "type": "report",
        "code": "done",
        "path": str(out),
        "run": str(run),
        "bytes": len(report.page),
        "ticks": len(report.history.ticks),
        "images": last.images,
        "grids": report.grids,
        "missing": list(report.missing),
        "last": {name: value if math.isfinite(value) else None for name, value in last.measures.items()},
    }
    output.result(record, f"wrote {display_path(out)}, {len(report.page):,} bytes")


def _destination(run: Path, out: Path | None) -> Path:
    """Return where the page goes: over an earlier report or where nothing is, over nothing else."""
    from invert.report.page import is_page

    path = out or run / _REPORT
    if path.suffix.lower() not in (".html", ".htm"):
        advice = "Name a .html file; a browser prints it as PDF."
        raise UsageError("a report is written as one HTML page", path=path, advice=advice)
    if out is None and path.is_symlink():
        # Who made the run may have laid it there.
        raise UsageError("is a link", path=path, advice="Name the report with --out.")
    try:
        if path.is_file() and not is_page(read_head(path, 1024)):
            raise UsageError("exists already and is no report", path=path, advice="Choose another --out.")
    except UnreadableError as error:
        reason = f"exists already, and {error.reason}"
        raise OutputError(reason, path=path, advice="Choose another --out.") from error
    return path
