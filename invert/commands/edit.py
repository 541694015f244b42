"""`invert edit`: a latent moved along directions."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from invert.cli import options, sheets
from invert.cli.output import Output
from invert.durable import ensure_folder, write_atomic
from invert.errors import UsageError, display_path
from invert.sheets.references import Reference

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork
    from generator.networks import Generator
    from invert.editing.moves import Edited, Move
    from invert.sheets.photos import Photo
    from invert.sheets.sources import Source

__all__ = ["edit"]

_MAX_FRAMES = 10_000
_SHEET_STEPS, _FILM_STEPS = 7, 60


class _Amounts(click.ParamType[tuple[list[float], bool]]):
    """Amounts; see `invert.editing.moves.amounts_in`."""

    name = "amounts"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[list[float], bool]:
        if isinstance(value, tuple):
            return value
        from invert.editing.amounts import amounts_in

        try:
            return amounts_in(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@options.command(
    short_help="Move a latent along directions.",
    examples=(
        "invert edit photo.npz --network ffhq.pkl --direction ffhq-sefa.safetensors:0-3 --out edits.png",
        "invert edit 5 --network ffhq.pkl --direction smile.safetensors --amount -3..3 --styles 0-7 --out smile.mp4",
    ),
)
@click.argument("latent", metavar="LATENT", type=sheets.LATENT)
@options.network(required=True)
@options.option(
    "--direction",
    "specs",
    multiple=True,
    metavar="FILE[:K]",
    help="Directions of 'invert directions': all of a file, or number, range or name K. Several may be given.",
)
@options.option(
    "--amount",
    "amounts",
    default="-3..3",
    show_default=True,
    type=_Amounts(),
    metavar="LIST",
    help="How far, in standard deviations of W: a range -3..3, or amounts such as -1,0,2.5.",
)
@options.option(
    "--steps",
    type=click.IntRange(2, _MAX_FRAMES),
    metavar="K",
    help="Number of amounts of a range.  [default: 7; 60 for a film]",
)
@options.option(
    "--styles",
    type=options.SEEDS,
    metavar="LIST",
    help="Styles that are moved, such as 0-3; 0 is the coarsest.  [default: those of the directions]",
)
@options.option("--together", is_flag=True, help="Move along all directions at once, not along one after the other.")
@options.option(
    "--out",
    metavar="FILE.png|FILE.mp4",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Sheet of the images; or a film that moves there and back, which needs pip install 'invert[video]'.",
)
@options.option(
    "--frames",
    "folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to which every image is written, at the network's size.",
)
@options.option(
    "--paste",
    "photo_path",
    metavar="PHOTO",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Show each image in the photo that LATENT was projected from with --align face: sheet, film and frames.",
)
@options.option(
    "--export",
    metavar="FILE.npz",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the latents, as projected_w.npz of stylegan2-ada-pytorch: w [N, styles, w_dim].",
)
@sheets.rate
@sheets.synthesis
def edit(
    latent: Reference,
    network_path: Path,
    specs: tuple[str, ...],
    amounts: tuple[list[float], bool],
    steps: int | None,
    styles: tuple[int, ...] | None,
    together: bool,
    out: Path | None,
    folder: Path | None,
    photo_path: Path | None,
    export: Path | None,
    rate: int,
    psi: float,
    cutoff: int | None,
    class_index: int | None,
    noise: str,
    scale: int | None,
    threads: int | None,
    device: str,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Generate the images of LATENT moved along directions, on a sheet or as a film.

    LATENT is a seed (5), a projection (photo.npz, latents.h5:3) or a latent of another program (latents.pt:0). A
    projection keeps its own noise maps: at amount 0 it is its reconstruction. Each direction is a row of the sheet, or
    a part of the film, one after the other. Without --direction the latent itself is shown or exported. With --paste
    the face of a photo is edited in the photo.
    """
    is_film = out is not None and out.suffix.lower() == ".mp4"
    _check(out, folder, export, is_film, overwrite)
    with Output(as_json=as_json, quiet=quiet) as output:
        loaded = sheets.load_for_sheet(network_path, cutoff, output, threads, device)
        generator = loaded.generator

        from invert.editing.moves import Move, edit_grid, edit_latent, joined
        from invert.sheets.layout import check_size, lay_out_sheet

        moves: Sequence[Move] = _moves(specs, styles, loaded, output)
        moves = [joined(moves)] if together and len(moves) > 1 else moves
        chosen = _amounts(amounts, steps, is_film) if specs else [0.0]
        if len(moves) * len(chosen) > _MAX_FRAMES:
            raise UsageError(f"{len(moves) * len(chosen)} images are more than {_MAX_FRAMES}", advice="Ask for fewer.")
        (source,) = sheets.find([latent], loaded, class_index, output)
        photo = None if photo_path is None else _photo(photo_path, source, generator, output)
        scale = sheets.scale_for(generator, scale) if photo is None else 1
        side = generator.config.synthesis.img_resolution
        if out is not None and not is_film:
            check_size(len(moves), len(chosen), side if photo is None else photo.cell, scale)
        names = _names(folder, len(moves) * len(chosen), overwrite)
        progress = output.image_progress(len(moves) * len(chosen))
        synthesise = sheets.synthesiser(generator, noise, output, progress)
        edits: list[Edited] = []
        cells = []
        with contextlib.ExitStack() as stack:
            show = sheets.film(stack, out if is_film else None, side if photo is None else photo.size, scale, rate)
            found = edit_latent(
                generator, source, moves, chosen, synthesise, truncation_psi=psi, truncation_cutoff=cutoff
            )
            for number, edited in enumerate(found):
                image = edited.image if photo is None else photo.around(edited.image)
                show(image)
                if names:
                    sheets.write_image(names[number], image)
                    event = {"direction": edited.direction, "amount": edited.amount, "path": str(names[number])}
                    output.event({"type": "image", "code": "generated", **event})
                edits.append(edited)
                cells.append(image if photo is None else photo.on_ground(image))
        if out is not None and not is_film:
            grid = edit_grid(source.label, moves, chosen, cells)
            sheets.write_image(out, lay_out_sheet([grid], scale))
        if export is not None:
            _export(export, edits)
        _say(output, source, moves, chosen, {"out": out, "frames": folder, "export": export})


def _photo(path: Path, source: "Source", generator: "Generator", output: Output) -> "Photo":
    """Return the photo that the latent's face was cut out of."""
    from invert.sheets.photos import open_photo

    return open_photo(path, source.label, source.cut, generator.config.synthesis.img_channels, output.warning)


def _say(
    output: Output, source: "Source", moves: "Sequence[Move]", amounts: list[float], written: dict[str, Path | None]
) -> None:
    files = {name: path for name, path in written.items() if path is not None}
    record = {
        "type": "summary",
        "code": "done",
        "images": len(moves) * len(amounts),
        "latent": source.label,
        "directions": [move.name for move in moves],
        "amounts": amounts,
        **{name: str(path) for name, path in files.items()},
    }
    shown = ", ".join(map(display_path, files.values()))
    counted = "1 direction" if len(moves) == 1 else f"{len(moves)} directions"
    output.result(record, f"moved {source.label} along {counted} in {shown}")


def _check(out: Path | None, folder: Path | None, export: Path | None, is_film: bool, overwrite: bool) -> None:
    if out is None and folder is None and export is None:
        advice = "Add --out FILE.png, --out FILE.mp4, --frames DIR or --export FILE.npz."
        raise UsageError("no output was named", advice=advice)
    if is_film:
        from invert.images.video import require_av

        require_av()
    if out is not None:
        sheets.check_outputs([out], ".mp4" if is_film else ".png", overwrite)
    if export is not None:
        sheets.check_outputs([export], ".npz", overwrite)


def _names(folder: Path | None, count: int, overwrite: bool) -> list[Path]:
    names = [] if folder is None else [folder / f"edit{number:05d}.png" for number in range(count)]
    sheets.check_outputs(names, ".png", overwrite)
    return names


def _amounts(amounts: tuple[list[float], bool], steps: int | None, is_film: bool) -> list[float]:
    """Return the amounts; a film of a range moves there and back, slowly at its ends."""
    from invert.editing.amounts import sweep, there_and_back

    numbers, is_range = amounts
    if not is_range:
        if steps is not None:
            raise UsageError("--steps is the number of amounts of a range", advice="Give --amount as -3..3.")
        return numbers
    if is_film:
        return there_and_back(numbers[0], numbers[1], steps or _FILM_STEPS)
    return sweep(numbers[0], numbers[1], steps or _SHEET_STEPS)


def _moves(
    specs: Sequence[str], styles: tuple[int, ...] | None, loaded: "LoadedNetwork", output: Output
) -> "list[Move]":
    from invert.editing.directions import choose_directions
    from invert.editing.moves import moves_along, no_move

    num_ws = loaded.generator.num_ws
    if not specs:
        return [no_move(num_ws, loaded.generator.config.mapping.w_dim)]
    found = [choose_directions(spec, loaded, output.warning) for spec in specs]
    return [move for directions in found for move in moves_along(directions, styles, num_ws)]


def _export(path: Path, edits: "Sequence[Edited]") -> None:
    import numpy as np

    from invert.store.latent_files import projected_w

    ensure_folder(path.parent)
    write_atomic(path, projected_w(np.stack([one.w for one in edits])))
