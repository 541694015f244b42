"""`invert demo`: what `invert attribute` says of the sample images that come with the program."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from generator.processors import processors
from invert.cli import options
from invert.cli.text import line
from invert.commands.attribute import attribute
from invert.durable import ensure_folder
from invert.errors import ExitCode, UsageError, display_path

__all__ = ["demo"]


@dataclass(frozen=True)
class _Domain:
    """Images of one kind of thing, and the network that is asked about them.

    Attributes:
        network: Its name in the folder of networks; its own samples are among the images.
        kinds: Folders of samples: real images, those of the network, those of one that was trained alike, and images
            of all three that were blurred, compressed, cropped and scaled.
        share: One image of each kind is shown for so many that are asked for.
    """

    network: str
    kinds: tuple[str, ...]
    share: int = 1


_DOMAINS = (
    _Domain("A", ("real", "A", "B", "processed")),
    # 64 px and colour: an image takes several times as long
    _Domain("faces", ("faces-real", "faces", "faces-b", "faces-processed"), share=3),
)
_KINDS = tuple(kind for domain in _DOMAINS for kind in domain.kinds)


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
    help="Number of images of each kind; of faces, which are larger, a third.",
)
@options.option(
    "--report",
    default=Path("projections/attribution.html"),
    show_default=True,
    metavar="FILE.html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The report, one HTML page; with both domains that of faces is beside it. Earlier ones are replaced.",
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
    """Attribute garments and drawn faces with the demonstration networks, and write a report of each.

    The images are real ones, samples of the network that is asked, samples of another network that was trained in the
    same way, and some of all three that were blurred, compressed, cropped or scaled: only the network's own should be
    attributed to it. It takes about two minutes on two processors.
    """
    default = options.default_network()
    if default is None:
        raise UsageError("this installation has no sample images", advice="Install invert again.")
    samples = _short(default.parent.parent / "samples")
    # A network that is named is asked about garments, unless kinds are named too.
    asked = kinds or (_KINDS if network_path is None else _DOMAINS[0].kinds)
    codes: list[int] = []
    for domain, paths in _chosen(samples, asked, images):
        ensure_folder(report.parent)
        if codes and not as_json:
            line("")
        codes.append(
            context.invoke(
                attribute,
                paths=paths,
                network_paths=(network_path or _short(default.with_stem(domain.network)),),
                report=report.with_stem(f"{report.stem}-{domain.network}") if codes else report,
                workers=processors(),
                as_json=as_json,
                quiet=quiet,
                overwrite=True,
            )
        )
    if not codes:
        raise UsageError(f"there are no sample images in '{display_path(samples)}'", advice="Install invert again.")
    return next((code for code in codes if code), ExitCode.OK)


def _chosen(samples: Path, kinds: Sequence[str], images: int) -> Iterator[tuple[_Domain, list[Path]]]:
    """Yield the first images of the kinds that are asked for, by their domains."""
    for domain in _DOMAINS:
        folders = [samples / kind for kind in domain.kinds if kind in kinds]
        count = max(1, images // domain.share)
        paths = [path for folder in folders for path in sorted(folder.glob("*.*g"))[:count]]
        if paths:
            yield domain, paths


def _short(path: Path) -> Path:
    """Return a path from the working folder, where it lies below it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
