"""`invert show`: what is in a file of latents."""

import math
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
from invert.report.spreadsheet import csv_line
from invert.store.names import printable

if TYPE_CHECKING:
    from invert.hdf5.reading import Latents

__all__ = ["show"]

_FACTS = ("distance", "status", "restart", "sha256", "pixel_sha256")


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
def show(path: Path, rows: int, worst: bool, as_csv: bool, as_json: bool) -> None:
    """Show a file of latents: a table, a summary, a histogram of the distances.

    With --json one object per image and a summary as the last line; with --csv one line per image.
    """
    if as_csv and as_json:
        raise UsageError("--csv and --json cannot both be written to stdout")
    from invert.hdf5.reading import open_latents

    output = Output(as_json=as_json)
    with open_latents(path) as latents:
        if as_csv:
            click.echo(_csv(latents), nl=False)
        elif as_json:
            for row in _rows(latents):
                output.result({"type": "image", **row})
            for index, failure in latents.failures:
                record = {"name": printable(failure.name), "code": failure.code, "reason": failure.reason}
                output.result({"type": "failure", "index": index, **record})
            output.result(_summary(latents))
        else:
            for line in _lines(latents, rows, worst):
                click.echo(line)


def _rows(latents: "Latents") -> list[dict[str, Any]]:
    columns = {key: latents.column(key).tolist() for key in _FACTS}
    shares = latents.column("layer_distances").tolist()
    sizes = latents.column("original_size").tolist()
    index = latents.column("index").tolist()
    found = []
    for row, name in enumerate(latents.names):
        facts = {key: _text(values[row]) for key, values in columns.items()}
        size = {"width": sizes[row][0], "height": sizes[row][1]}
        layers = {f"layer{i + 1}": share for i, share in enumerate(shares[row])}
        found.append({"row": row, "index": index[row], "name": printable(name), **facts, **layers, **size})
    return found


def _text(value: Any) -> Any:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value


def _csv(latents: "Latents") -> str:
    """Return all rows; names that a spreadsheet would take for a formula are marked as text."""
    rows = _rows(latents)
    header = rows[0] if rows else ["row", "index", "name", *_FACTS]
    return "".join(map(csv_line, [header, *(row.values() for row in rows)]))


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
        "noise": manifest.noise,
        "stored_images": manifest.images,
        "method_digest": manifest.digest,
        "method": manifest.method,
        "run": manifest.run,
        "network": manifest.network,
    }


def _spread(distances: list[float]) -> dict[str, float] | None:
    if not distances:
        return None
    last = len(distances) - 1
    quantiles = {"smallest": 0.0, "q25": 0.25, "median": 0.5, "q75": 0.75, "largest": 1.0}
    return {name: distances[math.floor(share * last + 0.5)] for name, share in quantiles.items()}


def _lines(latents: "Latents", rows: int, worst: bool) -> list[str]:
    summary, found = _summary(latents), _rows(latents)
    if worst:
        found.sort(key=lambda row: -row["distance"])
    lines = []
    if rows and found:
        lines += [f"{'row':>6}  {'distance':>8}  {'status':<8}  name"]
        shown = ((r, display_path(r["name"].replace("\\\\", "\\"))) for r in found[:rows])
        lines += [f"{r['row']:>6}  {r['distance']:8.4f}  {r['status']:<8}  {name}" for r, name in shown]
        if len(found) > rows:
            lines.append(f"{'...':>6}  {len(found) - rows} more: --rows N, --csv or --json")
        lines.append("")
    for _, failure in latents.failures[: rows or None]:
        lines.append(f"no result: {printable(failure.name)}: {failure.reason} ({failure.code})")
    network, method = summary["network"], summary["method"]
    facts = {
        "images": f"{summary['images']}, {summary['failures']} without a result, {summary['diverged']} diverged",
        "network": f"{network['family']}, {network['resolution']} px, sha256 {network['sha256']}",
        "method": f"{method['preset']}, {method['steps']} steps, LPIPS {method['lpips']}",
        "digest": summary["method_digest"],
        "kept": f"noise {summary['noise']}, images {'yes' if summary['stored_images'] else 'no'}",
    }
    if summary["same_content"]:
        facts["images"] += f"; {summary['same_content']} have the same content as another"
    if summary["distance"]:
        facts["distance"] = ", ".join(f"{name} {value:.4f}" for name, value in summary["distance"].items())
    lines += [f"{name:<9} {value}" for name, value in facts.items()]
    if len(found) > 1:
        lines += ["", *histogram(latents.distances.tolist())]
    return lines
