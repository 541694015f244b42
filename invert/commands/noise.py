"""`invert noise`: what the noise inputs of a network do."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from invert.cli import options, sheets
from invert.cli.output import Output
from invert.errors import UsageError, display_path
from invert.projection.config import NOISE_ALIASES, SYNTHESIS_NOISE
from invert.sheets.references import ProjectedLatent, Reference, Seed

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
    short_help="Show what noise does: figures 4 and 5 of StyleGAN; and noise maps.",
    examples=(
        "invert noise --network ffhq.pkl --seed photo.npz --count 20 --out noise.png",
        "invert noise --network ffhq.pkl --maps photo.npz,unregularised.npz --out maps.png",
    ),
)
@options.network(required=True)
@options.option("--seed", "latent", type=sheets.LATENT, metavar="LATENT", help="The latent that is shown.")
@options.option(
    "--maps",
    type=sheets.LATENTS,
    metavar="LATENTS",
    help="Show the noise maps of these projections as grey images instead, a row each.",
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
    latent: Reference | None,
    maps: tuple[Reference, ...] | None,
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

    With --maps the sheet has the noise maps of projections themselves (Karras et al. 2020, figure 18), from black at
    three deviations below 0 to white at three above, and the correlation of neighbouring values is told of each: one
    found with --noise-weight 0 has the image's structure in its maps.

    LATENT is a seed (5) or a projection (photo.npz, latents.h5:3); LATENTS have commas between them.
    """
    if (latent is None) == (maps is None):
        raise UsageError("a latent is shown with --seed, or maps with --maps", advice="Give one of the two.")
    sheets.check_outputs([out], ".png", overwrite)
    with Output(as_json=as_json, quiet=quiet) as output:
        if latent is None:
            _show_maps(maps or (), _Maps(network_path, threads, device, scale, out), output)
            return
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


class _Maps(NamedTuple):
    """Where maps are of, and where they go."""

    network: Path
    threads: int | None
    device: str
    scale: int | None
    out: Path


def _show_maps(references: Sequence[Reference], asked: _Maps, output: Output) -> None:
    """Lay out the noise maps of projections, and tell how much structure is in each."""
    loaded = sheets.load_for_sheet(asked.network, None, output, asked.threads, asked.device)
    generator = loaded.generator
    sizes = generator.synthesis.noise_sizes
    if not sizes:
        raise UsageError("this network has no noise inputs", path=asked.network)
    for one in references:
        if isinstance(one, Seed):
            advice = "Name projections with noise maps of their own."
            raise UsageError(f"--maps {one.number}: a seed has no noise maps of its own", advice=advice)

    from invert.sheets.layout import check_size, lay_out_sheet
    from invert.sheets.noise_maps import map_grid, structure
    from invert.sheets.sources import all_maps, own_maps

    scale = sheets.scale_for(generator, asked.scale)
    check_size(len(references), len(sizes), max(sizes.values()), scale)
    sources = sheets.find(references, loaded, None, output)
    found: list[tuple[str, KeptMaps]] = []
    for label, source in zip(_labels(references), sources, strict=True):
        if not source.noise:
            reason = f"{source.label} was kept without noise maps of its own"
            raise UsageError(reason, advice="Project with --noise optimise; an HDF5 file needs --save-noise.")
        found.append((label, all_maps(own_maps(source, generator, output.warning), generator)))
    sheets.write_image(asked.out, lay_out_sheet([map_grid(found, sizes)], scale))
    correlations = [{name: structure(own[name]) for name in sizes} for _, own in found]
    lines = [
        "".join([f"{name:<12} {f'{r} px':>8}", *(f"{one[name]:10.3f}" for one in correlations)])
        for name, r in sizes.items()
    ]
    told = [{"latent": label, "correlations": one} for (label, _), one in zip(found, correlations, strict=True)]
    record = {"type": "summary", "code": "done", "maps": told, "out": str(asked.out)}
    head = f"correlation of neighbours in the noise maps of {', '.join(label for label, _ in found)}"
    output.result(record, head, *lines, f"shown in {display_path(asked.out)}")


def _labels(references: Sequence[Reference]) -> list[str]:
    """Return what to call projections: by the folder too, where two have one name."""
    labels = [one.label for one in references]
    return [
        f"{display_path(one.path.parent.name)}/{label}"
        if isinstance(one, ProjectedLatent) and labels.count(label) > 1
        else label
        for one, label in zip(references, labels, strict=True)
    ]


def _own_maps(source: "Source", generator: "Generator", noise: str, output: Output) -> "KeptMaps | None":
    """Return the maps of the images that are shown; None for fresh ones."""
    import numpy as np

    from invert.sheets.sources import all_maps, own_maps

    if noise == "random" or (noise == "kept" and source.method is None):
        return None
    maps = all_maps(own_maps(source, generator, output.warning) if noise == "kept" else {}, generator)
    return {name: np.zeros_like(one) for name, one in maps.items()} if noise == "zero" else maps
