"""`invert noise`: what the noise inputs of a network do."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from invert.cli import options, sheets
from invert.cli.output import Output
from invert.errors import UsageError, display_path
from invert.projection.config import NOISE_ALIASES, SYNTHESIS_NOISE
from invert.sheets.references import Reference

if TYPE_CHECKING:
    from generator.networks import Generator
    from invert.projection.synthesis import KeptMaps
    from invert.sheets.sources import Source

__all__ = ["noise"]


class _Zoom(click.ParamType[tuple[int, int, int]]):
    """A square part of an image."""

    name = "zoom"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d{1,5}),(\d{1,5}),0*([1-9]\d{0,4})", str(value), re.ASCII)
        if match is None:
            self.fail(f"{value!r} is not X,Y,SIDE such as 8,8,16", param, ctx)
        return int(match[1]), int(match[2]), int(match[3])


_ZOOM = _Zoom()


@options.command(
    short_help="Show what noise does: figures 4 and 5 of StyleGAN.",
    examples=(
        "invert noise --network ffhq.pkl --seed 5 --out noise.png",
        "invert noise --network ffhq.pkl --seed photo.npz --count 20 --out noise.png",
    ),
)
@options.network(required=True)
@options.option(
    "--seed", "latent", required=True, type=sheets.LATENT, metavar="LATENT", help="The latent that is shown."
)
@sheets.out(required=True)
@options.option(
    "--shown",
    default=6,
    show_default=True,
    type=click.IntRange(1, 100),
    metavar="K",
    help="Number of realisations on the sheet.",
)
@options.option(
    "--count",
    default=100,
    show_default=True,
    type=click.IntRange(2, 100_000),
    metavar="N",
    help="Number of realisations from which the standard deviation is computed.",
)
@options.option(
    "--coarse",
    type=click.IntRange(min=0),
    metavar="PX",
    help="Largest resolution whose inputs count as coarse."
    "  [default: the lower half of the resolutions, up to 32 of 1024]",
)
@options.option(
    "--zoom",
    type=_ZOOM,
    metavar="X,Y,SIDE",
    help="Show this part of each realisation enlarged too: left and upper edge and side, in pixels.",
)
@options.option(
    "--noise",
    default="kept",
    show_default=True,
    type=options.Words(("kept", *SYNTHESIS_NOISE), NOISE_ALIASES),
    help="Noise maps of the images above the deviations: those kept of a projection and for seeds fresh ones; those"
    " stored in the network; fresh ones; or zero. A projection with maps is shown first.",
)
@sheets.synthesis_without(options.noise_inputs)
def noise(
    network_path: Path,
    latent: Reference,
    shown: int,
    count: int,
    coarse: int | None,
    zoom: tuple[int, int, int] | None,
    noise: str,
    psi: float,
    cutoff: int | None,
    class_index: int | None,
    scale: int | None,
    threads: int | None,
    device: str,
    out: Path,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Generate one latent with other noise, and with noise in some layers only.

    The sheet has realisations of the noise; images with noise in all, no, only the fine and only the coarse inputs;
    below each the standard deviation of every pixel (Karras et al. 2019, figures 4 and 5). Realisation K is the noise
    of 'invert generate --noise random --seeds K'. A projection is shown with its own noise first, and that noise is in
    the images with noise in all and in some inputs; the deviations are those of fresh noise.

    LATENT is a seed (5) or a projection (photo.npz, latents.h5:3).
    """
    sheets.check_outputs([out], ".png", overwrite)
    with Output(as_json=as_json, quiet=quiet) as output:
        loaded = sheets.load_for_sheet(network_path, cutoff, output, threads, device)
        generator = loaded.generator
        (source,) = sheets.find([latent], loaded, class_index, output)

        from invert.sheets.layout import check_size, lay_out_sheet
        from invert.sheets.noise_inputs import NoiseStudy, Zoom, effect_grid, realisation_grid, split_layers

        sizes = generator.synthesis.noise_sizes
        if not sizes:
            raise UsageError("this network has no noise inputs", path=network_path)
        scale = sheets.scale_for(generator, scale)
        part = None if zoom is None else Zoom(*zoom)
        if part is not None:
            part.check(generator.config.synthesis.img_resolution)
        check_size(4, max(shown + 1, 5), generator.config.synthesis.img_resolution, scale)
        layers = split_layers(sizes, coarse)
        own = _own_maps(source, generator, noise, output)
        ws = generator.truncate(source.ws, psi, cutoff)
        study = NoiseStudy(generator, ws, count, lambda: progress.step(), own)
        progress = output.image_progress(shown + study.count(layers))
        images = list(study.images(layers.choices["all"], shown))
        spreads = {name: study.spread(chosen) for name, chosen in layers.choices.items()}
        first = None if own is None else study.shown(layers.choices["all"])
        grids = [realisation_grid(source.label, images, first, part), effect_grid(spreads, layers, count)]
        sheets.write_image(out, lay_out_sheet(grids, scale))
        largest = {name: float(spread.deviation.max()) for name, spread in spreads.items()}
        mean = {name: float(spread.deviation.mean()) for name, spread in spreads.items()}
        record = {
            "type": "summary",
            "code": "done",
            "seed": source.label,
            "realisations": count,
            "coarse": list(layers.coarse),
            "fine": list(layers.fine),
            "deviation_mean": mean,
            "deviation_largest": largest,
            "out": str(out),
        }
        lines = [
            f"{name:<12} {mean[name]:9.3f} {largest[name]:9.3f}  {len(layers.choices[name])} of {len(sizes)} inputs"
            for name in spreads
        ]
        head = f"{'noise in':<12} {'mean':>9} {'largest':>9}  standard deviation in levels of 255, {count} realisations"
        output.result(record, head, *lines, f"generated {source.label} in {display_path(out)}")


def _own_maps(source: "Source", generator: "Generator", noise: str, output: Output) -> "KeptMaps | None":
    """Return the maps of the images that are shown; None for fresh ones."""
    import numpy as np

    from invert.sheets.sources import all_maps, own_maps

    if noise == "random" or (noise == "kept" and source.method is None):
        return None
    maps = all_maps(own_maps(source, generator, output.warning) if noise == "kept" else {}, generator)
    return {name: np.zeros_like(one) for name, one in maps.items()} if noise == "zero" else maps
