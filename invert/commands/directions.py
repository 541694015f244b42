"""`invert directions`: directions in W along which images change."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from invert.cli import options, sheets
from invert.cli.inputs import NETWORK_FILE
from invert.cli.output import Output
from invert.errors import UsageError, display_path, visible
from invert.sheets.references import Reference, Seed

if TYPE_CHECKING:
    from invert.editing.discovery import Method

__all__ = ["directions"]

_AMOUNTS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)


@options.command(
    short_help="Find directions along which images change.",
    examples=(
        "invert directions ffhq.pkl --method sefa --out ffhq-sefa.safetensors",
        "invert directions ffhq.pkl --method labels --labels celeba.zip --out ffhq-attributes.safetensors",
    ),
)
@click.argument("network_path", metavar="NETWORK", type=NETWORK_FILE)
@options.option(
    "--method",
    default="sefa",
    show_default=True,
    type=click.Choice(["sefa", "pca", "labels"]),
    help="How they are found: those that the style weights amplify most; the principal components of W; or those along"
    " which attributes of labelled samples change.",
)
@options.option(
    "--out",
    required=True,
    metavar="FILE.safetensors",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File of the directions.",
)
@options.option(
    "--sheet",
    metavar="FILE.png",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Image of a latent moved along each.  [default: beside --out, as .png]",
)
@options.option("--count", default=10, show_default=True, type=click.IntRange(1, 1000), help="Number of directions.")
@options.option(
    "--styles",
    type=options.SEEDS,
    metavar="LIST",
    help="Styles whose weights sefa looks at and that are moved, such as 0-3; 0 is the coarsest.  [default: all]",
)
@options.option(
    "--labels",
    metavar="DATA|FILE.npz",
    type=click.Path(exists=True, path_type=Path),
    help="For labels: images with labels or attributes, or what is known of samples: z and probabilities.",
)
@options.option(
    "--samples",
    default=10_000,
    show_default=True,
    type=click.IntRange(100, 1_000_000),
    metavar="N",
    help="Number of latents that are drawn: the standard deviations, pca and labels come from them.",
)
@options.option(
    "--classifier-kimg",
    default=100.0,
    show_default=True,
    type=click.FloatRange(0.1, 1e6),
    metavar="K",
    help="Thousands of images that the classifier of each attribute is trained on.",
)
@options.option("--attributes", metavar="LIST", help="Attributes of --labels, such as skin,hair.  [default: all]")
@options.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**32 - 1), help="Seed of the latents.")
@options.option(
    "--latent", default="0", show_default=True, type=sheets.LATENT, metavar="LATENT", help="The latent on the sheet."
)
@sheets.synthesis_without(options.psi, options.cutoff, options.noise_inputs)
def directions(
    network_path: Path,
    method: "Method",
    out: Path,
    sheet: Path | None,
    count: int,
    styles: tuple[int, ...] | None,
    labels: Path | None,
    samples: int,
    classifier_kimg: float,
    attributes: str | None,
    seed: int,
    latent: Reference,
    class_index: int | None,
    scale: int | None,
    threads: int | None,
    device: str,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Find directions in the W of NETWORK, for 'invert edit', and show a latent moved along each.

    sefa (Shen and Zhou 2021) needs no samples: it takes the eigenvectors of the style weights. pca (GANSpace) takes the
    directions along which W spreads most. labels fits a hyperplane between samples that have an attribute and those
    that have it not: classifiers that are trained on a labelled data set say which do, or a .npz with z [n, z_dim],
    probabilities [n, attributes] and names. An amount of 1 is a standard deviation of W along the direction.
    """
    if (method == "labels") != (labels is not None):
        word = "needs --labels" if labels is None else "takes no --labels"
        raise UsageError(f"--method {method} {word}")
    if attributes is not None and labels is None:
        raise UsageError("--attributes are those of --labels", advice="Leave --attributes out.")
    sheet = out.with_suffix(".png") if sheet is None else sheet
    sheets.check_outputs([out], ".safetensors", overwrite)
    sheets.check_outputs([sheet], ".png", overwrite)
    with Output(as_json=as_json, quiet=quiet) as output:
        loaded = sheets.load_for_sheet(network_path, None, output, threads, device)
        generator = loaded.generator
        if isinstance(latent, Seed) and class_index is None and generator.config.mapping.c_dim:
            class_index = 0
        (source,) = sheets.find([latent], loaded, class_index, output)

        from invert.editing.discovery import Labels, find_directions
        from invert.editing.moves import edit_grid, edit_latent, moves_along, with_notes
        from invert.sheets.layout import check_size, lay_out_sheet

        scale = sheets.scale_for(generator, scale)
        check_size(count, len(_AMOUNTS), generator.config.synthesis.img_resolution, scale)
        given = None
        if labels is not None:
            step = output.measure_progress().step
            given = Labels(labels, classifier_kimg, str(source.ws.device), step, attributes)
        found = find_directions(
            loaded,
            method,
            count=count,
            styles=styles,
            samples=samples,
            seed=seed,
            labels=given,
            on_warning=output.warning,
        )
        moves = with_notes(moves_along(found, None, generator.num_ws), found.strength_texts())
        progress = output.image_progress(len(moves) * len(_AMOUNTS))
        synthesise = sheets.synthesiser(generator, "kept", output, progress)
        images = [edited.image for edited in edit_latent(generator, source, moves, _AMOUNTS, synthesise)]
        found.save(out)
        sheets.write_image(sheet, lay_out_sheet([edit_grid(source.label, moves, _AMOUNTS, images)], scale))
        record = {
            "type": "summary",
            "code": "done",
            "method": method,
            "directions": list(found.names),
            "strengths": [float(strength) for strength in found.strengths],
            "deviations": [float(deviation) for deviation in found.deviations],
            "out": str(out),
            "sheet": str(sheet),
        }
        width = max(map(len, map(visible, found.names)))
        lines = [
            f"{number:>3}  {visible(name):<{width}}  {text}"
            for number, (name, text) in enumerate(zip(found.names, found.strength_texts(), strict=True))
        ]
        counted = "1 direction" if len(found) == 1 else f"{len(found)} directions"
        written = f"found {counted}: {display_path(out)}, shown in {display_path(sheet)}"
        output.result(record, *lines, written)
