"""`invert generate`: draw images from seeds."""

from pathlib import Path

import click

from invert import api
from invert.cli import options
from invert.cli.output import Output
from invert.durable import ensure_folder, write_atomic
from invert.errors import UsageError, display_path
from invert.images.arrays import contact_sheet
from invert.images.decoding import to_png_bytes

__all__ = ["generate"]


@click.command(short_help="Draw images from seeds.")
@options.network(required=True)
@click.option("--seeds", required=True, type=options.SEEDS, metavar="LIST", help="Such as 0-15 or 1,5,7-9.")
@click.option("--psi", default=1.0, show_default=True, help="Truncation towards the mean w: 1 none, 0 the mean.")
@click.option("--cutoff", type=click.IntRange(min=0), metavar="L", help="Truncate only the L coarsest layers.")
@options.class_index
@click.option(
    "--noise",
    default="const",
    show_default=True,
    type=click.Choice(["const", "random", "none"]),
    help="Noise maps: those stored in the network, fresh ones for each seed, or none.",
)
@click.option("--out", required=True, metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--grid", is_flag=True, help="Also write all images as one, grid.png.")
@options.overwrite
@options.as_json
def generate(
    network_path: Path,
    seeds: tuple[int, ...],
    psi: float,
    cutoff: int | None,
    class_index: int | None,
    noise: str,
    out: Path,
    grid: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Draw one image per seed.

    Seed S is the latent code numpy.random.RandomState(S).randn(1, z_dim), as in the published code.
    """
    paths = {seed: out / f"seed{seed:04d}.png" for seed in seeds}
    written = [*paths.values(), *([out / "grid.png"] if grid else [])]
    existing = next((path for path in written if path.exists()), None)
    if existing is not None and not overwrite:
        raise UsageError("exists already", path=existing, advice="Add --overwrite, or choose another --out.")
    output = Output(as_json=as_json)
    drawn = api.generate(
        network_path,
        seeds,
        truncation_psi=psi,
        truncation_cutoff=cutoff,
        class_index=class_index,
        noise=noise,
    )

    ensure_folder(out)
    images = []
    for seed, image in zip(seeds, drawn, strict=True):
        write_atomic(paths[seed], to_png_bytes(image))
        output.result({"type": "image", "code": "generated", "seed": seed, "path": str(paths[seed])})
        if grid:
            images.append(image)
    if grid:
        write_atomic(out / "grid.png", to_png_bytes(contact_sheet(images)))
    summary = {"type": "summary", "code": "done", "images": len(seeds), "out": str(out)}
    output.result(summary, f"generated {len(seeds)} images in {display_path(out)}")
