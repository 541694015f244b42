"""`invert generate`: images from seeds and projections."""

from pathlib import Path
from typing import Any

import click

from invert import api
from invert.cli import options, sheets
from invert.cli.images import image_paths
from invert.cli.output import Output
from invert.durable import ensure_folder, write_atomic
from invert.errors import UsageError, display_path
from invert.images.arrays import contact_sheet
from invert.images.decoding import to_png_bytes
from invert.images.target import safe_name
from invert.projection.config import NOISE_ALIASES, SEED_NOISE
from invert.sheets.references import Reference, Seed

__all__ = ["generate"]


class _Shift(click.ParamType[tuple[float, float]]):
    """Two numbers with a comma between."""

    name = "X,Y"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        """Return the two numbers."""
        if isinstance(value, tuple):
            return value
        try:
            x, y = map(float, value.split(","))
        except ValueError:
            self.fail(f"'{display_path(value)}' is not two numbers and a comma, such as 0.1,-0.05.", param, ctx)
        return x, y


@options.command(
    short_help="Generate images from seeds and projections.",
    examples=(
        "invert generate --network ffhq.pkl --seeds 0-15 --out samples",
        "invert generate --network ffhq.pkl --seeds photo.npz --out again.png",
    ),
)
@options.network(required=True)
@options.option(
    "--seeds",
    "latents",
    required=True,
    type=sheets.MANY_LATENTS,
    metavar="LIST",
    help="Seeds, such as 0-15 or 1,5,7-9, and projections, such as photo.npz or latents.h5:3.",
)
@options.images_out
@options.psi
@options.cutoff
@options.option(
    "--noise",
    default="kept",
    show_default=True,
    type=options.Words(("kept", *SEED_NOISE), NOISE_ALIASES),
    help="Noise maps: those kept of a projection and for seeds those stored in the network; those stored in the"
    " network; fresh ones for each seed; zero; or those of the seed's own stream after z, as the StyleGAN2 program for"
    " TensorFlow draws them.",
)
@options.option(
    "--translate",
    type=_Shift(),
    default=(0.0, 0.0),
    metavar="X,Y",
    help="Shift to the right and down, in shares of the image's side, of a StyleGAN3 network's images.",
)
@options.option(
    "--rotate",
    type=float,
    default=0.0,
    metavar="DEGREES",
    help="Rotation counter-clockwise about the centre, before the shift; likewise.",
)
@options.class_index
@options.option("--grid", is_flag=True, help="Also write all images on one sheet, grid.png.")
@options.option(
    "--batch",
    type=click.IntRange(1, 4096),
    metavar="N",
    help="Number of images that are synthesised together.  [default: 1 on processors, more on a GPU]",
    group=options.COMPUTATION,
)
@options.threads
@options.device
@options.as_json
@options.quiet
@options.overwrite
def generate(
    network_path: Path,
    latents: tuple[Reference, ...],
    psi: float,
    cutoff: int | None,
    class_index: int | None,
    noise: str,
    translate: tuple[float, float],
    rotate: float,
    out: Path,
    grid: bool,
    batch: int | None,
    threads: int | None,
    device: str,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Generate one image per seed or projection.

    Seed S stands for the latent numpy.random.RandomState(S).randn(1, z_dim), as in the published code. A projection
    is synthesised from its w, with its own noise maps where they were kept.
    """
    latents = tuple(dict.fromkeys(latents))
    if grid and out.suffix.lower() == ".png":
        raise UsageError("--grid writes several images", path=out, advice="Name a folder with --out.")
    names = [_name(latent) for latent in latents]
    paths = image_paths(out, [*names, *(["grid.png"] if grid else [])], overwrite)
    with Output(as_json=as_json, quiet=quiet) as output:
        generated = api.generate(
            network_path,
            latents,
            truncation_psi=psi,
            truncation_cutoff=cutoff,
            class_index=class_index,
            noise=noise,
            translate=translate,
            rotate=rotate,
            batch=batch,
            threads=threads,
            device=device,
            on_warning=output.warning,
        )
        progress = output.image_progress(len(latents))
        images = []
        for latent, path, image in zip(latents, paths, generated, strict=False):
            ensure_folder(path.parent)
            write_atomic(path, to_png_bytes(image))
            progress.step()
            which = {"seed": latent.number} if isinstance(latent, Seed) else {"latent": latent.label}
            output.event({"type": "image", "code": "generated", **which, "path": str(path)})
            if grid:
                images.append(image)
        if grid:
            write_atomic(paths[-1], to_png_bytes(contact_sheet(images), is_sheet=True))
        summary = {"type": "summary", "code": "done", "images": len(latents), "out": str(out)}
        counted = "1 image" if len(latents) == 1 else f"{len(latents)} images"
        output.result(summary, f"generated {counted} in {display_path(out)}")


def _name(latent: Reference) -> str:
    """Return the name of a latent's image."""
    if isinstance(latent, Seed):
        return f"seed{latent.number:04d}.png"
    stem = safe_name(latent.path.stem)
    return f"{stem}.png" if latent.row is None else f"{stem}-{latent.row:06d}.png"
