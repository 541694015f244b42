"""`invert histograms`: the distances of own and other images, of several networks side by side."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from invert.attribution.settings import OWN, SCORES
from invert.cli import options, sheets
from invert.cli.output import Output
from invert.durable import ensure_folder, write_atomic
from invert.errors import UsageError, display_path

if TYPE_CHECKING:
    from invert.attribution.calibration import Calibration
    from invert.statistics.checks import FloatArray

__all__ = ["histograms"]

_MOST = 6
_SUFFIX = ".calibration"


@options.command(
    short_help="Plot the distances of calibrations side by side: figure 10 of StyleGAN2.",
    examples=(
        "invert histograms ffhq.calibration.json --out distances.png",
        "invert histograms stylegan.calibration.json stylegan2.calibration.json --out distances.png",
    ),
)
@click.argument(
    "paths",
    metavar="CALIBRATION...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@sheets.out(required=True)
@options.option(
    "--score",
    default="lpips",
    show_default=True,
    type=click.Choice((*SCORES, "rms")),
    help="Score that is plotted; rms: the levels by which preset exact misses an image.",
)
@options.option(
    "--processing",
    "processings",
    metavar="LIST",
    help="A panel for the images after each of these processings.  [default: one for all images]",
)
@options.as_json
@options.quiet
@options.overwrite
def histograms(
    paths: tuple[Path, ...],
    score: str,
    processings: str | None,
    out: Path,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Plot what each calibration measured: how far a network's own images, and others, are from their reconstructions.

    The better the two part, the more surely an image can be attributed to the network: Karras et al. 2020, figure 10.
    Only calibrations of the same method can be compared, apart from the network; others are plotted with a warning.
    """
    sheets.check_outputs([out], ".png", overwrite)
    if len(paths) > _MOST:
        raise UsageError(f"{len(paths)} calibrations are more than {_MOST}", advice="Plot them in several images.")
    with Output(as_json=as_json, quiet=quiet) as output:
        from invert.attribution.calibration_file import read_calibration
        from invert.attribution.report.charts import plot_side_by_side
        from invert.projection.records import differing_keys
        from invert.statistics.intervals import auc

        calibrations = [(path.stem.removesuffix(_SUFFIX), read_calibration(path)) for path in paths]
        methods = [
            {key: value for key, value in one.method.items() if key != "network_sha256"} for _, one in calibrations
        ]
        for path, method in zip(paths[1:], methods[1:], strict=True):
            differing = differing_keys(methods[0], method)
            if differing:
                output.warning(f"'{display_path(path)}' is of another method ({'; '.join(differing)})")
        lines, found = [], []
        panels = [
            (name if key is None else f"{name} after {key}" if key != "none" else name, values)
            for name, calibration in calibrations
            for key, values in _panels(calibration, score, processings)
        ]
        if len(panels) > _MOST:
            raise UsageError(f"{len(panels)} panels are more than {_MOST}", advice="Plot them in several images.")
        for name, populations in panels:
            own = populations[OWN]
            areas = {key: auc(own, values) for key, values in populations.items() if key != OWN}
            found.append({"name": name, "own": len(own), "auc": areas})
            shown = ", ".join(f"{area:.3f} against {len(populations[key])} of {key}" for key, area in areas.items())
            lines.append(f"{name}: {len(own)} of its own; AUC {shown}")
        ensure_folder(out.parent)
        write_atomic(out, plot_side_by_side(panels, score))
        record = {"type": "summary", "code": "done", "out": str(out), "score": score, "calibrations": found}
        output.result(record, *lines, f"plotted in {display_path(out)}")


def _panels(
    calibration: "Calibration", score: str, processings: str | None
) -> "Iterator[tuple[str | None, dict[str, FloatArray]]]":
    """Yield each processing that was asked for, None for all of them together, and the values after it."""
    from invert.attribution.report.charts import RMS, population_values

    if score == RMS and calibration.method["preset"] != "exact":
        reason = f"--score rms is of preset exact, and this calibration of {calibration.method['preset']}"
        raise UsageError(reason, advice="Plot --score lpips.")
    for key in [None] if processings is None else processings.split():
        if key not in (None, *calibration.processings):
            known = ", ".join(calibration.processings)
            raise UsageError(f"--processing {key!r} is none of the calibration's: {known}")
        yield key, population_values(calibration, score, key)
