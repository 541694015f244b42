"""`invert generate`: images from seeds."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import numpy.typing as npt

from invert.cli import options
from invert.cli.output import Output
from invert.durable import ensure_folder, write_atomic
from invert.errors import UsageError, display_path
from invert.images.arrays import contact_sheet
from invert.images.decoding import to_png_bytes

if TYPE_CHECKING:
    from generator.networks import Generator

__all__ = ["generate"]

Pixels = npt.NDArray[np.uint8]


@options.command(
    short_help="Generate images from seeds.",
    examples=(
        "invert generate --network ffhq.pkl --seeds 0-15 --out samples",
        "invert generate --network ffhq.pkl --seeds 1,5,7-9 --psi 0.7 --grid --out samples",
    ),
)
@options.network(required=True)
@options.option("--seeds", required=True, type=options.SEEDS, metavar="LIST", help="Seeds, such as 0-15 or 1,5,7-9.")
@options.option(
    "--out",
    required=True,
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the images.",
)
@options.psi
@options.cutoff
@options.noise_inputs
@options.class_index
@options.option("--grid", is_flag=True, help="Also write all images on one sheet, grid.png.")
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
    """Generate one image per seed.

    Seed S stands for the latent numpy.random.RandomState(S).randn(1, z_dim), as in the published code.
    """
    paths = {seed: out / f"seed{seed:04d}.png" for seed in seeds}
    written = [*paths.values(), *([out / "grid.png"] if grid else [])]
    existing = next((path for path in written if path.exists()), None)
    if existing is not None and not overwrite:
        raise UsageError("exists already", path=existing, advice="Add --overwrite, or choose another --out.")
    with options.network_errors(network_path):
        from generator.files.reading import load

        generator = load(network_path).generator
    options.check_class(generator.config.mapping.c_dim, class_index, required=True)
    options.check_cutoff(generator, cutoff)

    ensure_folder(out)
    output = Output(as_json=as_json)
    images = []
    for seed, image in zip(seeds, _images(generator, seeds, psi, cutoff, class_index, noise), strict=True):
        write_atomic(paths[seed], to_png_bytes(image))
        output.result({"type": "image", "code": "generated", "seed": seed, "path": str(paths[seed])})
        if grid:
            images.append(image)
    if grid:
        write_atomic(out / "grid.png", to_png_bytes(contact_sheet(images)))
    summary = {"type": "summary", "code": "done", "images": len(seeds), "out": str(out)}
    output.result(summary, f"generated {len(seeds)} images in {display_path(out)}")


def _images(
    generator: "Generator",
    seeds: tuple[int, ...],
    psi: float,
    cutoff: int | None,
    class_index: int | None,
    noise: str,
) -> Iterator[Pixels]:
    import torch

    from invert.projection.latents import class_label, draw_image, seed_latent

    mapping = generator.config.mapping
    c = class_label(class_index, mapping.c_dim)
    generator.eval()
    for seed in seeds:
        z = seed_latent(seed, mapping.z_dim)
        with torch.inference_mode():
            ws = generator.mapping_ws(z, c, truncation_psi=psi, truncation_cutoff=cutoff)
        yield draw_image(generator, ws, noise, seed)
