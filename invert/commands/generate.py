"""`invert generate`: images from seeds."""

from pathlib import Path

from invert import api
from invert.cli import options
from invert.cli.output import Output
from invert.durable import ensure_folder, write_atomic
from invert.errors import UsageError, display_path
from invert.images.arrays import contact_sheet
from invert.images.decoding import to_png_bytes

__all__ = ["generate"]


@options.command(
    short_help="Generate images from seeds.",
    examples=(
        "invert generate --network ffhq.pkl --seeds 0-15 --out samples",
        "invert generate --network ffhq.pkl --seeds 1,5,7-9 --psi 0.7 --grid --out samples",
    ),
)
@options.network(required=True)
@options.option("--seeds", required=True, type=options.SEEDS, metavar="LIST", help="Seeds, such as 0-15 or 1,5,7-9.")
@options.image_folder
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
    output = Output(as_json=as_json)
    generated = api.generate(
        network_path,
        seeds,
        truncation_psi=psi,
        truncation_cutoff=cutoff,
        class_index=class_index,
        noise=noise,
    )

    ensure_folder(out)
    images = []
    for seed, image in zip(seeds, generated, strict=True):
        write_atomic(paths[seed], to_png_bytes(image))
        output.result({"type": "image", "code": "generated", "seed": seed, "path": str(paths[seed])})
        if grid:
            images.append(image)
    if grid:
        write_atomic(out / "grid.png", to_png_bytes(contact_sheet(images), is_sheet=True))
    summary = {"type": "summary", "code": "done", "images": len(seeds), "out": str(out)}
    output.result(summary, f"generated {len(seeds)} images in {display_path(out)}")
