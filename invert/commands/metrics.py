"""`invert metrics`: measure generators as the papers do."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from invert import api
from invert.cli import options
from invert.cli.output import Output
from invert.durable import ensure_folder, write_atomic
from invert.errors import UsageError, display_path
from invert.metrics.settings import FEATURES, MeasureSettings
from invert.metrics.table import METRICS

if TYPE_CHECKING:
    from invert.metrics.result import Measured

__all__ = ["metrics"]

_PATHS = click.Path(exists=True, path_type=Path)


@options.command(
    short_help="Measure networks: distances to real images, path lengths and more.",
    examples=(
        "invert metrics network.safetensors --against photos256.zip",
        "invert metrics ffhq.pkl --metric ppl-wend,jacobian --out report.html --sheet figures",
    ),
)
@click.argument("subjects", metavar="NETWORK|DATA...", nargs=-1, required=True, type=_PATHS)
@options.option(
    "--metric",
    "names",
    multiple=True,
    metavar="LIST",
    help=f"Metrics, such as fd-vgg,ppl-wend: fid, {', '.join(METRICS)}; with a suffix, fd, kid and pr are of these"
    " features.  [default: fd-vgg,kid-vgg,pr-vgg with --against, else ppl-wend]",
)
@options.option("--against", metavar="DATA|NETWORK", type=_PATHS, help="Images, or a network, to compare with.")
@options.option(
    "--features",
    metavar="WORD|FILE",
    help=f"Features of fd, kid, pr: {', '.join(FEATURES)}, or a .safetensors of VGG16's or AlexNet's convolutions."
    "  [default: what a name's suffix says, else inception]",
)
@options.option(
    "--weights",
    metavar="FILE|DIR",
    type=click.Path(path_type=Path),  # who needs it says whether it is there
    envvar="INVERT_WEIGHTS",
    help="Your file of Inception's weights, or its folder.",
)
@options.option("--download", is_flag=True, help="Fetch Inception's weights where they are not found.")
@options.option(
    "--labels",
    metavar="DATA|FILE.npz",
    type=_PATHS,
    help="For separability: images with labels or attributes, or predictions.",
)
@options.settings(MeasureSettings, environment=False)
@options.threads
@options.device
@options.option("--out", metavar="FILE.html", type=click.Path(path_type=Path), help="Also write one HTML page.")
@options.option(
    "--sheet",
    "sheets",
    metavar="DIR",
    type=options.Folder(),
    help="Also write images with the lowest and highest path lengths, and the histogram.",
)
@options.as_json
@options.quiet
@options.overwrite
def metrics(
    subjects: tuple[Path, ...],
    names: tuple[str, ...],
    against: Path | None,
    features: str | None,
    weights: Path | None,
    download: bool,
    labels: Path | None,
    out: Path | None,
    sheets: Path | None,
    threads: int | None,
    device: str,
    as_json: bool,
    quiet: bool,
    overwrite: bool,
    **settings: Any,
) -> None:
    """Measure each NETWORK (or folder, zip or IDX file of images).

    Distances between features of samples and of other images (fd, kid, pr; with Inception's features fid, kid, is),
    path lengths (ppl-...), linear separability, the singular values of dG/dw, and what each resolution adds. Several
    networks become one table. A run that was stopped resumes. docs/metrics.md says how each is defined.
    """
    _check_page(out, overwrite)
    given = {name: value for name, value in settings.items() if value is not None}
    with Output(as_json=as_json, quiet=quiet) as output:
        found: list[Measured] = []
        measured = api.measure(
            subjects,
            ",".join(names) or None,
            against=against,
            features=features,
            weights=weights,
            download=download,
            labels=labels,
            threads=threads,
            device=device,
            on_progress=output.measure_progress().step,
            on_warning=output.warning,
            **given,
        )
        output.keeps("The same command resumes.")
        for one in measured:
            output.event({"type": "metric", "code": "measured", **one.record()})
            found.append(one)
            if sheets is not None and "distances" in one.arrays:
                _write_sheets(one, sheets, device, overwrite)
        from invert.metrics.report import comparison, metrics_page

        if out is not None:
            ensure_folder(out.parent)
            write_atomic(out, metrics_page(found))
        header, rows = comparison(found)
        record = {"type": "summary", "code": "done", "results": len(found), "out": None if out is None else str(out)}
        written = [] if out is None else [f"written to {display_path(out)}"]
        output.result(record, *_lines(header, rows), *written)


def _lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table as lines; that of one subject is turned, for it has a figure in each line."""
    table = [list(pair) for pair in zip(header, rows[0], strict=True)] if len(rows) == 1 else [header, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def _check_page(out: Path | None, overwrite: bool) -> None:
    if out is None:
        return
    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError("a report is written as one HTML page", path=out, advice="Name a .html file.")
    if out.exists() and not overwrite:
        raise UsageError("exists already", path=out, advice="Add --overwrite, or choose another --out.")


def _write_sheets(measured: "Measured", folder: Path, device: str, overwrite: bool) -> None:
    from invert.metrics.path_length_sheets import path_length_sheets
    from invert.projection.session import settle_device

    ensure_folder(folder)
    for name, data in path_length_sheets(measured, settle_device(device)).items():
        path = folder / f"{Path(measured.path).stem}-{measured.metric}-{name}.png"
        if path.exists() and not overwrite:
            raise UsageError("exists already", path=path, advice="Add --overwrite, or choose another --sheet.")
        write_atomic(path, data)
