"""`invert dataset`: make a zip of training images."""

import contextlib
from collections import Counter
from pathlib import Path
from typing import Literal

import click

from invert.cli import options
from invert.cli.output import Output
from invert.cli.progress import ImageProgress
from invert.errors import ExitCode, ImageError, InvertError, UsageError, display_path

__all__ = ["dataset"]


@options.command(
    short_help="Make a zip of training images.",
    examples=(
        "invert dataset photos/ photos256.zip --resolution 256",
        "invert dataset cars/ cars512.zip --resolution 512 --pad",
    ),
)
@click.argument("src", type=click.Path(exists=True, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path), metavar="OUT.zip")
@options.option("--resolution", type=int, metavar="R", help="Bring all images to R x R, a power of two from 4 to 4096.")
@options.option(
    "--crop",
    type=click.Choice(["center", "none"]),
    help="With --resolution: cut the centre square, or refuse images that are not square.  [default: center, unless "
    "--pad is given]",
)
@options.option(
    "--pad",
    is_flag=True,
    help="With --resolution: put images whole on black, neither cut (letterboxed) nor enlarged.",
)
@options.option(
    "--channels",
    type=click.Choice(["1", "3", "4"]),
    help="Channels: 1 is grey, 3 is RGB, 4 is RGBA.  [default: 4 if SRC was made so, else as the first image]",
)
@options.option(
    "--labels",
    "label_source",
    default="file",
    show_default=True,
    type=click.Choice(["file", "folders", "none"]),
    help="Source of the classes: dataset.json, whose attributes come along, or an IDX file of labels, the names of the "
    "direct subfolders, or none.",
)
@options.follow
@options.as_json
@options.quiet
@options.overwrite
def dataset(
    src: Path,
    out: Path,
    resolution: int | None,
    crop: Literal["center", "none"] | None,
    pad: bool,
    channels: str | None,
    label_source: str,
    follow: bool,
    quiet: bool,
    as_json: bool,
    overwrite: bool,
) -> int:
    """Turn the images of SRC into one zip for training.

    SRC is a folder of images, a zip of images, or an IDX file (*-images-idx3-ubyte[.gz], as MNIST has). The zip
    holds PNGs of one size and a dataset.json, as the published StyleGAN2-ADA code reads them.
    """
    _check(src, out, resolution, crop, pad, overwrite)
    from invert.datasets.image_sources import open_source
    from invert.datasets.labels import class_folders, folder_labels
    from invert.datasets.writer import DatasetSettings, write_dataset

    source = open_source(src, with_labels=label_source == "file", follow=follow)
    with contextlib.closing(source), Output(as_json=as_json, quiet=quiet) as output:
        report = _Report(output)
        if label_source == "file" and source.labels is None and (folders := class_folders(source.names)):
            shown = ", ".join(display_path(folder) for folder in folders[:3])
            more = f" and {len(folders) - 3} more" if len(folders) > 3 else ""
            output.note(f"images lie in the folders {shown}{more}; --labels folders makes each a class")
        if label_source == "folders":
            source.labels = folder_labels(source.names, source.path)
        settings = DatasetSettings(resolution, crop, pad, None if channels is None else int(channels))
        summary = write_dataset(
            source,
            out,
            settings,
            on_error=report.error,
            on_warning=report.warning,
            on_progress=report.progress,
        )
        report.rest()
        if summary.enlarged:
            advice = "" if pad else " (--pad puts them on black instead)"
            output.warning(f"{_images_are(summary.enlarged)} smaller than {resolution} px: enlarged{advice}")
        if summary.cut:
            advice = "" if pad else " (--pad keeps them whole, on black)"
            output.warning(f"{_images_are(summary.cut)} not square: the centre square is cut out{advice}")
        output.result(
            {"type": "summary", "code": "done", "path": str(out), **vars(summary)},
            f"{summary.images} images, {summary.resolution} x {summary.resolution}, "
            f"{summary.channels} {'channel' if summary.channels == 1 else 'channels'}, "
            f"{'no' if summary.classes is None else summary.classes} classes{_attributes(summary.attributes)}; "
            f"{summary.skipped} skipped",
            f"wrote {display_path(out)}, {summary.bytes:,} bytes, sha256 {summary.sha256}",
        )
    return ExitCode.PARTIAL if summary.skipped else ExitCode.OK


def _attributes(count: int) -> str:
    """Return the end of a list of what a data set has."""
    return f", {count} {'attribute' if count == 1 else 'attributes'}" if count else ""


def _images_are(count: int) -> str:
    return "1 image is" if count == 1 else f"{count} images are"


def _check(src: Path, out: Path, resolution: int | None, crop: str | None, pad: bool, overwrite: bool) -> None:
    from invert.datasets.uniformity import is_resolution

    if resolution is None and (pad or crop is not None):
        raise UsageError("--pad and --crop need --resolution")
    if resolution is not None and not is_resolution(resolution):
        raise UsageError(f"--resolution {resolution} is not a power of two from 4 to 4096")
    if out.is_dir() and not (src.exists() and out.samefile(src)):
        advice = f"Name a file in it, such as {display_path(out / f'{src.resolve().stem}.zip')}."
        raise UsageError("it is a folder, and the images go into one zip", path=out, advice=advice)
    if out.exists() and src.exists() and out.samefile(src):
        raise UsageError("it is both source and output", path=out, advice="Choose another output.")
    if out.is_file() and not overwrite:
        raise UsageError("exists already", path=out, advice="Add --overwrite, or choose another name.")


class _Report:
    """Progress and messages about single images."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._told: Counter[str] = Counter()
        self._progress: ImageProgress | None = None

    def progress(self, done: int, total: int) -> None:
        """Count one image."""
        if self._progress is None:
            self._progress = self._output.image_progress(total, silence=None)
        self._progress.expect(total)
        self._progress.step()

    def error(self, error: InvertError) -> None:
        """Say which image is skipped, and why."""
        if isinstance(error, ImageError) and error.by_rule:
            self._output.warning(str(error))
            return
        self._output.error(str(error))
        self._output.result({"type": "image", **error.record()})

    def warning(self, path: Path, text: str) -> None:
        """Say what was done to an image: of each kind the first by name, the rest as a number at the end."""
        if not self._told[text]:
            self._output.warning(f"image '{display_path(path)}': {text}")
        self._told[text] += 1

    def rest(self) -> None:
        """Say of how many more images each warning holds."""
        for text, count in self._told.items():
            if count > 1:
                self._output.warning(f"{count - 1} more: {text}")
