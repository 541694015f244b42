"""`invert noise`: what the noise inputs of a network do."""

from pathlib import Path

import click

from invert.cli import options, sheets
from invert.cli.output import Output
from invert.errors import UsageError, display_path
from invert.sheets.references import Reference

__all__ = ["noise"]


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
@options.psi
@options.cutoff
@options.class_index
@sheets.scale
@options.threads
@options.device
@options.as_json
@options.quiet
@options.overwrite
def noise(
    network_path: Path,
    latent: Reference,
    shown: int,
    count: int,
    coarse: int | None,
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
    of 'invert generate --noise random --seeds K'.

    LATENT is a seed (5) or a projection (photo.npz, latents.h5:3).
    """
    sheets.check_outputs([out], ".png", overwrite)
    with Output(as_json=as_json, quiet=quiet) as output:
        loaded = sheets.load_for_sheet(network_path, cutoff, output, threads, device)
        generator = loaded.generator
        (source,) = sheets.find([latent], loaded, class_index, output)

        from invert.sheets.layout import check_size, lay_out_sheet
        from invert.sheets.noise_inputs import NoiseStudy, effect_grid, realisation_grid, split_layers

        sizes = generator.synthesis.noise_sizes
        if not sizes:
            raise UsageError("this network has no noise inputs", path=network_path)
        scale = sheets.scale_for(generator, scale)
        check_size(3, max(shown, 5), generator.config.synthesis.img_resolution, scale)
        layers = split_layers(sizes, coarse)
        study = NoiseStudy(generator, generator.truncate(source.ws, psi, cutoff), count, lambda: progress.step())
        progress = output.image_progress(shown + study.count(layers))
        images = list(study.images(layers.choices["all"], shown))
        spreads = {name: study.spread(chosen) for name, chosen in layers.choices.items()}
        grids = [realisation_grid(source.label, images), effect_grid(spreads, layers, count)]
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
