"""`invert render`: the images of a file of latents, generated again."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from invert.cli import options
from invert.cli.images import image_paths
from invert.cli.output import Output
from invert.durable import ensure_folder, write_atomic
from invert.errors import NetworkError, UsageError, display_path
from invert.images.decoding import to_png_bytes
from invert.images.target import safe_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from invert.hdf5.reading import Latents
    from invert.projection.renderer import Latent

__all__ = ["render"]


@options.command(
    short_help="Generate the images of a file of latents again.",
    examples=(
        "invert render photos.h5 --network ffhq.pkl --out reconstructions",
        "invert render photos.h5 --network ffhq.pkl --index 0-15 --out reconstructions",
    ),
)
@click.argument("path", metavar="FILE.h5", type=click.Path(path_type=Path))
@options.network(required=False)
@options.option("--index", "rows", type=options.SEEDS, metavar="LIST", help="Rows, such as 0-15.  [default: all]")
@options.images_out
@options.device
@options.as_json
@options.quiet
@options.overwrite
def render(
    path: Path,
    network_path: Path | None,
    rows: tuple[int, ...] | None,
    out: Path,
    device: str,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Generate each image from its w and noise maps, as ROW-NAME.png.

    With noise maps kept as float32 the images are those of the projection, with float16 within one level of 255;
    without noise maps, the network synthesises w with fresh noise.
    """
    from invert.hdf5.reading import open_latents

    with Output(as_json=as_json, quiet=quiet) as output, open_latents(path) as latents:
        chosen = tuple(range(len(latents))) if rows is None else rows
        missing = next((row for row in chosen if row >= len(latents)), None)
        if missing is not None:
            raise UsageError(f"--index {missing}: there are {len(latents)} rows, counted from 0", path=path)
        names = [f"{row:06d}-{safe_name(latents.names[row].decode('utf-8', 'replace'))}.png" for row in chosen]
        paths = image_paths(out, names, overwrite)
        images = _images(latents, chosen, network_path, device, output)
        for row, path, image in zip(chosen, paths, images, strict=True):
            ensure_folder(path.parent)
            write_atomic(path, to_png_bytes(image))
            output.event({"type": "image", "code": "rendered", "row": row, "path": str(path)})
        summary = {"type": "summary", "code": "done", "images": len(chosen), "out": str(out)}
        output.result(summary, f"generated {len(chosen)} images in {display_path(out)}")


def _images(
    latents: "Latents", rows: tuple[int, ...], network_path: Path | None, device: str, output: Output
) -> Iterator["NDArray[np.uint8]"]:
    """Load the network and yield the images of the rows, with the batch size and threads of the projection."""
    from invert.projection.renderer import Renderer
    from invert.projection.session import prepare_process, settle_device

    manifest = latents.manifest
    network_path = options.network_or_default(network_path, output)
    loaded = options.load_network(network_path, output)
    if loaded.provenance.weights_sha256 != manifest.network["weights_sha256"]:
        reason = f"is not the one of these latents, which has weights {manifest.network['weights_sha256'][:12]}..."
        raise NetworkError(reason, path=network_path, advice="'invert info' shows the weights of a network.")
    if manifest.noise == "none" and manifest.method["noise"] == "optimise":
        output.note("no noise maps were kept: w is synthesised with fresh noise, of the projection's seed")
    kind = settle_device(device)
    prepare_process(kind, int(manifest.run["threads"]) if kind == "cpu" else None, output.note)
    renderer = Renderer(loaded.generator, batch=int(manifest.run["batch"]), noise=manifest.method["noise"], device=kind)
    return renderer.synthesise(_latents(latents, rows))


def _latents(latents: "Latents", rows: tuple[int, ...]) -> Iterator["Latent"]:
    from invert.projection.renderer import Latent

    seed = int(latents.manifest.run["seed"])
    for row in rows:
        result = latents[row]
        yield Latent(result.w, dict(result.noise), seed, result.pixel_sha256, result.restart, result.transform)
