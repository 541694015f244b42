"""`invert demo`: what `invert attribute` says of the sample images that come with the program."""

from pathlib import Path

import click

from generator.processors import processors
from invert.cli import options
from invert.commands.attribute import attribute
from invert.durable import ensure_folder
from invert.errors import UsageError, display_path

__all__ = ["demo"]

_KINDS = ("real", "A", "B", "processed")
"""Photographs of garments, samples of network A, samples of another network, and images of all three that were
blurred, compressed, cropped and scaled."""


@options.command(
    short_help="Attribute the sample images that come with the program.",
    examples=("invert demo", "invert demo --images 4 --report projections/demo.html"),
)
@options.network(required=False)
@options.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(_KINDS),
    help="Kind of images; may be given several times.  [default: all]",
)
@options.option(
    "--images",
    default=12,
    show_default=True,
    type=click.IntRange(1, 32),
    metavar="N",
    help="Number of images of each kind.",
)
@options.option(
    "--report",
    default=Path("projections/attribution.html"),
    show_default=True,
    metavar="FILE.html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The report, one HTML page; an earlier one is replaced.",
)
@options.as_json
@options.quiet
@click.pass_context
def demo(
    context: click.Context,
    network_path: Path | None,
    kinds: tuple[str, ...],
    images: int,
    report: Path,
    as_json: bool,
    quiet: bool,
) -> int:
    """Attribute garments with the demonstration network, and write a report.

    The images are photographs, samples of that network, samples of another network that was trained in the same way,
    and some of all three that were blurred, compressed, cropped or scaled: only the network's own should be attributed
    to it. It takes about a minute on two processors.
    """
    network = options.default_network()
    if network is None:
        raise UsageError("this installation has no sample images", advice="Install invert again.")
    samples = _short(network.parent.parent / "samples")
    paths = [path for kind in kinds or _KINDS for path in sorted((samples / kind).glob("*.*g"))[:images]]
    if not paths:
        raise UsageError(f"there are no sample images in '{display_path(samples)}'", advice="Install invert again.")
    ensure_folder(report.parent)
    code: int = context.invoke(
        attribute,
        paths=paths,
        network_paths=(network_path or _short(network),),
        report=report,
        workers=processors(),
        as_json=as_json,
        quiet=quiet,
        overwrite=True,
    )
    return code


def _short(path: Path) -> Path:
    """Return a path from the working folder, where it lies below it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
