"""`invert truncate`: images at several truncations."""

import math
import re
from pathlib import Path
from typing import Any

import click

from invert.cli import options, sheets
from invert.cli.output import Output
from invert.errors import display_path
from invert.sheets.references import Reference

__all__ = ["truncate"]

_MAX_PSIS = 1000


class _Psis(click.ParamType[tuple[float, ...]]):
    """Finite numbers with commas between them."""

    name = "psis"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        pieces = str(value).split(",")
        number = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.ASCII | re.IGNORECASE)
        psis = tuple(float(piece) if number.fullmatch(piece) else math.nan for piece in pieces)
        if not all(map(math.isfinite, psis)):
            self.fail(f"{value!r} is not a list of numbers like 1,0.7,0", param, ctx)
        if len(psis) > _MAX_PSIS:
            self.fail(f"more than {_MAX_PSIS} numbers", param, ctx)
        return psis


@options.command(
    short_help="Show latents at several truncations: figure 8 of StyleGAN.",
    examples=(
        "invert truncate --network ffhq.pkl --seeds 0-3 --out truncations.png",
        "invert truncate --network ffhq.pkl --seeds photo.npz --psi 1,0.5,0,-0.5 --out truncations.png",
    ),
)
@options.network(required=True)
@options.option("--seeds", required=True, type=sheets.LATENTS, metavar="LATENTS", help="Latents, a row for each.")
@options.option(
    "--psi",
    "psis",
    default="1,0.7,0.5,0,-0.5,-1",
    show_default=True,
    type=_Psis(),
    metavar="LIST",
    help="Truncations, a column for each: 1 is w itself, 0 the mean w, -1 the opposite of w.",
)
@sheets.out(required=True)
@sheets.synthesis_without(options.psi)
def truncate(
    network_path: Path,
    seeds: tuple[Reference, ...],
    psis: tuple[float, ...],
    cutoff: int | None,
    class_index: int | None,
    noise: str,
    scale: int | None,
    threads: int | None,
    device: str,
    out: Path,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Generate a table of latents at several truncations towards the mean w.

    Each image is synthesised from w_avg + psi (w - w_avg): Karras et al. 2019, figure 8. A projection's w is
    truncated as that of a seed is.

    LATENTS are seeds (5, 7-9) and projections (photo.npz, latents.h5:3), with commas between them.
    """
    sheets.check_outputs([out], ".png", overwrite)
    with Output(as_json=as_json, quiet=quiet) as output:
        loaded = sheets.load_for_sheet(network_path, cutoff, output, threads, device)
        generator = loaded.generator
        sources = sheets.find(seeds, loaded, class_index, output)

        from invert.sheets.layout import check_size, lay_out_sheet
        from invert.sheets.mixing import truncation_grid

        scale = sheets.scale_for(generator, scale)
        check_size(len(seeds), len(psis), generator.config.synthesis.img_resolution, scale)
        progress = output.image_progress(len(seeds) * len(psis))
        synthesise = sheets.synthesiser(generator, noise, output, progress)
        sheets.write_image(out, lay_out_sheet([truncation_grid(generator, sources, psis, cutoff, synthesise)], scale))
        record = {
            "type": "summary",
            "code": "done",
            "images": len(seeds) * len(psis),
            "seeds": [source.label for source in sources],
            "psi": list(psis),
            "out": str(out),
        }
        output.result(record, f"generated {len(seeds)} latents at {len(psis)} truncations in {display_path(out)}")
