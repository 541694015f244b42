"""What the commands that make sheets share: the latents that a user names, the network, the files."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from invert.cli import options
from invert.cli.output import Output
from invert.cli.progress import ImageProgress
from invert.durable import atomic_file, ensure_folder, write_atomic
from invert.errors import UsageError
from invert.images.decoding import to_png_bytes
from invert.images.fitting import Size, height_and_width
from invert.sheets.references import MAX_REFERENCES, Reference, Seed, parse_references

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from generator.files.reading import LoadedNetwork
    from generator.networks import Generator
    from invert.sheets.sources import Source, Synthesise

__all__ = [
    "LATENT",
    "LATENTS",
    "MANY_LATENTS",
    "check_outputs",
    "film",
    "find",
    "load_for_sheet",
    "out",
    "rate",
    "scale",
    "scale_for",
    "synthesis",
    "synthesis_without",
    "synthesiser",
    "write_image",
]

scale = options.option(
    "--scale",
    type=click.IntRange(1, 64),
    metavar="K",
    help="Enlarge each pixel of the network to K x K.  [default: images of 128 px, or more]",
)

rate = options.option(
    "--rate",
    default=30,
    show_default=True,
    type=click.IntRange(1, 240),
    metavar="N",
    help="Frames per second of a film.",
)

_SYNTHESIS = (
    options.psi,
    options.cutoff,
    options.class_index,
    options.noise_inputs,
    scale,
    options.threads,
    options.device,
    options.as_json,
    options.quiet,
    options.overwrite,
)


def synthesis(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of all commands that synthesise latents onto a sheet, in the order in which they are shown."""
    return synthesis_without()(command)


def synthesis_without(*left_out: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return `synthesis` for a command that lacks some of these options, or has its own in their place."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for add in reversed(_SYNTHESIS):
            if add not in left_out:
                command = add(command)
        return command

    return decorate


def out(*, required: bool) -> Callable[[Any], Any]:
    """Return the --out option."""
    return options.option(
        "--out",
        "-o",
        required=required,
        metavar="FILE.png",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Image file of the sheet.",
    )


class _Latents(click.ParamType[tuple[Reference, ...]]):
    """Seeds and projections; see `parse_references`."""

    name = "latents"

    def __init__(self, most: int = MAX_REFERENCES) -> None:
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Reference, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return parse_references(str(value), self._most)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Latent(click.ParamType[Reference]):
    """One seed or projection."""

    name = "latent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Reference:
        if isinstance(value, Reference):
            return value
        found = LATENTS.convert(value, param, ctx)
        if len(found) != 1:
            self.fail(f"{value!r} is {len(found)} latents, one is asked for", param, ctx)
        return found[0]


LATENTS = _Latents()
MANY_LATENTS = _Latents(options.MAX_SEEDS)
LATENT = _Latent()


def check_outputs(paths: Sequence[Path], suffix: str, overwrite: bool) -> None:
    """Check that files that will be written have the right suffix and are not there yet.

    Raises:
        UsageError: One has another suffix, or exists and may not be written over.
    """
    for path in paths:
        if path.suffix.lower() != suffix:
            raise UsageError(f"does not end in {suffix}", path=path, advice=f"Name a {suffix} file.")
        if path.exists() and not overwrite:
            raise UsageError("exists already", path=path, advice="Add --overwrite, or choose another name.")


def load_for_sheet(path: Path, cutoff: int | None, output: Output, threads: int | None, device: str) -> "LoadedNetwork":
    """Load a network in evaluation mode on a device, and validate the truncation against it.

    Raises:
        NetworkError: See `invert.cli.options.load_network`.
        UsageError: The network has fewer styles than are to be truncated, or the device cannot be used.
    """
    loaded = options.load_network(path, output)
    from invert.projection.latents import check_cutoff
    from invert.projection.session import prepare_process, settle_device

    chosen = settle_device(device)
    prepare_process(chosen, threads, output.note)
    loaded.generator.eval().to(chosen)

    check_cutoff(cutoff, loaded.generator.num_ws)
    return loaded


def find(
    references: Sequence[Reference], loaded: "LoadedNetwork", class_index: int | None, output: Output
) -> "list[Source]":
    """Return the latents that were named; see `invert.sheets.sources.find_sources`."""
    from invert.projection.latents import check_class
    from invert.sheets.sources import find_sources

    # A projection has its class in its w.
    needs_class = any(isinstance(reference, Seed) for reference in references)
    check_class(class_index, loaded.generator.config.mapping.c_dim, required=needs_class)
    return find_sources(references, loaded, class_index, output.warning)


def synthesiser(
    generator: "Generator",
    noise: str,
    output: Output,
    progress: ImageProgress,
    psi: float = 1.0,
    cutoff: int | None = None,
) -> "Synthesise":
    """Return what synthesises and counts an image of truncated styles, as `invert generate` does."""
    from invert.sheets.sources import image_maker

    make = image_maker(generator, noise, output.warning, psi, cutoff)

    def synthesise(ws: "Tensor", source: "Source") -> "NDArray[np.uint8]":
        image = make(ws, source)
        progress.step()
        return image

    return synthesise


def film(
    stack: contextlib.ExitStack, path: Path | None, size: Size, scale: int, rate: int
) -> "Callable[[NDArray[np.uint8]], None]":
    """Return what adds an image to a film, written when the stack ends well; without a path it does nothing.

    The last row and column of an image whose height or width is odd are left out.
    """
    if path is None:
        return lambda _: None
    from invert.images.arrays import enlarge, to_rgb
    from invert.images.video import VideoWriter

    ensure_folder(path.parent)
    height, width = (length * scale // 2 * 2 for length in height_and_width(size))
    writer = stack.enter_context(VideoWriter(stack.enter_context(atomic_file(path)), (height, width), rate))
    return lambda image: writer.write(enlarge(to_rgb(image), scale)[:height, :width])


def scale_for(generator: "Generator", given: int | None) -> int:
    """Return by which factor images are enlarged."""
    from invert.sheets.layout import fitting_scale

    return given or fitting_scale(generator.config.synthesis.img_resolution)


def write_image(path: Path, image: "NDArray[np.uint8]") -> None:
    """Write a PNG, whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    ensure_folder(path.parent)
    write_atomic(path, to_png_bytes(image, is_sheet=True))
