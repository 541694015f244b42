"""`invert show`: what is in a file of latents."""

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from invert.cli import options
from invert.cli.help import OUTPUT
from invert.cli.output import Output
from invert.cli.text import histogram
from invert.errors import UsageError, display_path
from invert.store.names import printable
from invert.store.result import FIELDS

if TYPE_CHECKING:
    from invert.hdf5.reading import Latents

__all__ = ["show"]

_FIDELITY = {"psnr": ".2f", "ssim": ".4f"}
"""Numbers of which the summary has the spread, where a file has them, with their formats."""


@options.command(
    short_help="Show what is in a file of latents.",
    examples=("invert show photos.h5 --worst", "invert show photos.h5 --csv > photos.csv"),
)
@click.argument("path", metavar="FILE.h5", type=click.Path(path_type=Path))
@options.option(
    "--rows",
    default=20,
    show_default=True,
    type=click.IntRange(min=0),
    metavar="N",
    help="Largest number of rows of the table.",
)
@options.option("--worst", is_flag=True, help="Sort the table by distance, the largest first.")
@options.option("--csv", "as_csv", is_flag=True, help="Write all rows as CSV to stdout.", group=OUTPUT)
@options.as_json
@options.quiet
def show(path: Path, rows: int, worst: bool, as_csv: bool, as_json: bool, quiet: bool) -> None:
    """Show a file of latents: a table, a summary, a histogram of the distances.

    With --json one object per image and a summary as the last line; with --csv one line per image.
    """
    if as_csv and as_json:
        raise UsageError("--csv and --json cannot both be written to stdout")
    from invert.hdf5.reading import open_latents

    output = Output(as_json=as_json, quiet=quiet)
    with open_latents(path) as latents:
        if as_csv:
            table = latents.table()
            for cells in (table, *zip(*table.values(), strict=True)):
                output.row(cells)
        elif as_json:
            for row in _rows(latents):
                # JSON has no NaN: what is not known is null.
                known = {name: None if value != value else value for name, value in row.items()}
                output.result({"type": "image", **known})
            for index, failure in latents.failures:
                record = {"name": printable(failure.name), "code": failure.code, "reason": failure.reason}
                output.result({"type": "failure", "index": index, **record})
            output.result(_summary(latents))
        else:
            output.result({}, *_lines(latents, rows, worst))


def _rows(latents: "Latents") -> list[dict[str, Any]]:
    table = latents.table()
    return [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]


def _summary(latents: "Latents") -> dict[str, Any]:
    manifest, distances = latents.manifest, sorted(latents.distances.tolist())
    twins = Counter(latents.column("pixel_sha256").tolist())
    return {
        "type": "summary",
        "path": os.fspath(latents.path),
        "images": len(latents),
        "failures": latents.failure_count,
        "diverged": sum(status != b"ok" for status in latents.column("status").tolist()),
        "same_content": sum(count - 1 for count in twins.values()),
        "distance": _spread(distances),
        **{name: _spread([value for value in latents.table().get(name, []) if value == value]) for name in _FIDELITY},
        "noise": manifest.noise,
        "stored_images": manifest.images,
        "method_digest": manifest.digest,
        "method": manifest.method,
        "run": manifest.run,
        "network": manifest.network,
    }


def _spread(distances: list[float]) -> dict[str, float] | None:
    import numpy as np

    if not distances:
        return None
    shares = {"smallest": 0.0, "q25": 0.25, "median": 0.5, "q75": 0.75, "largest": 1.0}
    # Between the two middle values where their number is even, as `invert project` says it.
    return dict(zip(shares, np.quantile(distances, list(shares.values())).tolist(), strict=True))


def _method(method: dict[str, Any]) -> str:
    """Return a method in a few words."""
    preset, steps = method.get("preset"), method.get("steps")
    if preset == "exact":
        processing = method.get("processing", "none")
        return f"exact, at most {steps} steps, noise {method.get('noise')}, processing {processing}"
    space = f", space {method['space']}" if "space" in method else ""
    return f"{preset}, {steps} steps, LPIPS {method.get('lpips')}{space}"


def _heading(name: str, text: str) -> str:
    """Return a name above a column of that format: numbers stand on the right, text on the left."""
    return format(name, text if text[0] in "<>" else f">{text.partition('.')[0]}")


def _lines(latents: "Latents", rows: int, worst: bool) -> list[str]:
    summary, found = _summary(latents), _rows(latents)
    if worst:
        found.sort(key=lambda row: -row["distance"])
    lines = []
    if rows and found:
        formats = {
            "row": ">6",
            **{str(field.shown): field.text for field in FIELDS if field.text and field.shown in found[0]},
        }
        lines.append("  ".join([*(_heading(name, text) for name, text in formats.items()), "name"]))
        for row in found[:rows]:
            cells = [format(row[name], text) for name, text in formats.items()]
            lines.append("  ".join([*cells, display_path(row["name"].replace("\\\\", "\\"))]))
        if len(found) > rows:
            lines.append(f"{'...':>6}  {len(found) - rows} more: --rows N, --csv or --json")
        lines.append("")
    for _, failure in latents.failures[: rows or None]:
        lines.append(f"no result: {printable(failure.name)}: {failure.reason} ({failure.code})")
    network, method = summary["network"], summary["method"]
    facts = {
        "images": f"{summary['images']}, {summary['failures']} without a result, {summary['diverged']} diverged",
        "network": f"{network['family']}, {network['resolution']} px, sha256 {network['sha256']}",
        "method": _method(method),
        "digest": summary["method_digest"],
        "kept": f"noise {summary['noise']}, images {'yes' if summary['stored_images'] else 'no'}",
    }
    if summary["same_content"]:
        facts["images"] += f"; {summary['same_content']} have the same content as another"
    if summary["distance"]:
        facts["distance"] = ", ".join(f"{name} {value:.4f}" for name, value in summary["distance"].items())
    for name, form in _FIDELITY.items():
        if summary[name]:
            facts[name] = ", ".join(f"{which} {value:{form}}" for which, value in summary[name].items())
    lines += [f"{name:<9} {value}" for name, value in facts.items()]
    if len(found) > 1:
        lines += ["", *histogram(latents.distances.tolist())]
    return lines
