"""`invert mix`: style mixing."""

from pathlib import Path

from invert.cli import options, sheets
from invert.cli.output import Output
from invert.errors import UsageError, display_path
from invert.sheets.references import Reference

__all__ = ["mix"]


@options.command(
    short_help="Mix the styles of latents: figure 3 of StyleGAN.",
    examples=(
        "invert mix --network ffhq.pkl --rows 0-2 --cols 5,7 --out mix.png",
        "invert mix --network ffhq.pkl --rows photo.npz --cols latents.h5:0-4 --styles 8-17 --out mix.png",
    ),
)
@options.network(required=True)
@options.option("--rows", required=True, type=sheets.LATENTS, metavar="LATENTS", help="Sources on the left.")
@options.option("--cols", required=True, type=sheets.LATENTS, metavar="LATENTS", help="Sources at the top.")
@options.option(
    "--styles",
    type=options.SEEDS,
    metavar="LIST",
    help="Styles taken from the source at the top, such as 0-3; 0 is the coarsest.  [default: a table each for the"
    " coarse, the middle and the fine ones]",
)
@sheets.out(required=True)
@sheets.synthesis
def mix(
    network_path: Path,
    rows: tuple[Reference, ...],
    cols: tuple[Reference, ...],
    styles: tuple[int, ...] | None,
    psi: float,
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
    """Generate a table of images that mix the styles of two latents.

    Each image has the named --styles of the source at the top of its column, and all other styles and the noise of
    the source at the left of its row: sources B and A of Karras et al. 2019, figure 3. Without --styles there are three
    tables, as in that figure: with the coarse, the middle and the fine styles of the source at the top.

    LATENTS are seeds (5, 7-9) and projections (photo.npz, latents.h5:3), with commas between them.
    """
    sheets.check_outputs([out], ".png", overwrite)
    with Output(as_json=as_json, quiet=quiet) as output:
        loaded = sheets.load_for_sheet(network_path, cutoff, output, threads, device)
        generator = loaded.generator
        far = next((style for style in styles or () if style >= generator.num_ws), None)
        if far is not None:
            raise UsageError(f"--styles {far}: the network has {generator.num_ws} styles, 0 to {generator.num_ws - 1}")
        from invert.sheets.layout import check_size, lay_out_sheet
        from invert.sheets.mixing import mixing_bands, mixing_grid, style_bands

        scale = sheets.scale_for(generator, scale)
        bands = style_bands(generator.num_ws) if styles is None else [("named", styles)]
        check_size(len(bands) * (len(rows) + 1), len(cols) + 1, generator.config.synthesis.img_resolution, scale)
        found = sheets.find((*rows, *cols), loaded, class_index, output)
        left, top = found[: len(rows)], found[len(rows) :]
        count = len(bands) * len(rows) * len(cols)
        progress = output.image_progress(count + len(rows) + len(cols))
        synthesise = sheets.synthesiser(generator, noise, output, progress, psi, cutoff)
        if styles is None:
            grids = mixing_bands(left, top, bands, synthesise)
        else:
            grids = [mixing_grid(left, top, styles, synthesise)]
        sheets.write_image(out, lay_out_sheet(grids, scale))
        taken = {"styles": sorted(styles)} if styles is not None else {"bands": {name: list(of) for name, of in bands}}
        record = {
            "type": "summary",
            "code": "done",
            "images": count,
            "rows": [source.label for source in left],
            "cols": [source.label for source in top],
            **taken,
            "out": str(out),
        }
        times = f" x {len(bands)} bands of styles" if styles is None else ""
        output.result(record, f"mixed {len(rows)} x {len(cols)} images{times} in {display_path(out)}")
