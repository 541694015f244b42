"""Tables of changed styles: mixed from two latents, and truncated.

Reference: Karras et al. 2019, section 3.1 and figure 3 (mixing), appendix B and figure 8 (truncation).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from generator.networks import Generator
from invert.sheets.layout import Grid
from invert.sheets.sources import Source, Synthesise

__all__ = ["Band", "mix_styles", "mixing_bands", "mixing_grid", "range_text", "style_bands", "truncation_grid"]

Band = tuple[str, tuple[int, ...]]
"""A word, and the styles that it stands for."""


def mix_styles(rest: Tensor, named: Tensor, layers: Sequence[int]) -> Tensor:
    """Return styles `[N, num_ws, w_dim]`: those of `layers` from `named`, all others from `rest`.

    Args:
        rest: `[N, num_ws, w_dim]`; source A of the paper.
        named: `[N, num_ws, w_dim]`; source B of the paper.
        layers: Indices of styles in 0..num_ws - 1, 0 the coarsest.
    """
    mixed = rest.clone()
    mixed[:, list(layers)] = named[:, list(layers)]
    return mixed


def style_bands(num_ws: int) -> list[Band]:
    """Return the coarse, middle and fine styles of a network, those that it has of the three.

    At 1024 px they are those of the paper: of 4 to 8 px (0-3), of 16 to 32 px (4-7), and of 64 px and more (8-17).
    Networks under 128 px have fewer coarse ones: there 4 px alone decides what is shown.

    Args:
        num_ws: Number of styles; two for each resolution.
    """
    sizes = max(num_ws // 2, 1)
    coarse, middle = 2 if sizes >= 6 else 1, 2 if sizes >= 5 else 1
    edges = [0, min(2 * coarse, num_ws), min(2 * (coarse + middle), num_ws), num_ws]
    bands = [(word, tuple(range(*edges[i : i + 2]))) for i, word in enumerate(("coarse", "middle", "fine"))]
    return [band for band in bands if band[1]]


def mixing_bands(
    rows: Sequence[Source], columns: Sequence[Source], bands: Sequence[Band], synthesise: Synthesise
) -> list[Grid]:
    """Return a table like that of `mixing_grid` for each band of styles; the sources are synthesised once."""
    made: dict[int, NDArray[np.uint8]] = {}

    def once(ws: Tensor, source: Source) -> NDArray[np.uint8]:
        if ws is not source.ws:
            return synthesise(ws, source)
        if id(source) not in made:
            made[id(source)] = synthesise(ws, source)
        return made[id(source)]

    grids = []
    for word, layers in bands:
        grid = mixing_grid(rows, columns, layers, once)
        grids.append(replace(grid, title=f"{word.capitalize()} styles ({grid.title[0].lower()}{grid.title[1:]})"))
    return grids


def mixing_grid(
    rows: Sequence[Source], columns: Sequence[Source], layers: Sequence[int], synthesise: Synthesise
) -> Grid:
    """Return the table of figure 3: the sources at its edges, between them what becomes of each pair.

    Args:
        rows: Sources A, on the left: they give the styles that are not named, and the noise.
        columns: Sources B, above: they give the named styles.
        layers: See `mix_styles`.
        synthesise: Called once for each image, row by row.
    """
    cells = [[None, *(synthesise(column.ws, column) for column in columns)]]
    for row in rows:
        mixed = [synthesise(mix_styles(row.ws, column.ws, layers), row) for column in columns]
        cells.append([synthesise(row.ws, row), *mixed])
    title = f"Styles {range_text(layers)} of the source above; all others, and the noise, of the source on the left"
    columns_text = ["", *(column.label for column in columns)]
    return Grid(title, cells, columns_text, ["", *(row.label for row in rows)], has_sources=True)


def range_text(numbers: Sequence[int]) -> str:
    """Return whole numbers as a user writes them, `0-3,7`."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def truncation_grid(
    generator: Generator, sources: Sequence[Source], psis: Sequence[float], cutoff: int | None, synthesise: Synthesise
) -> Grid:
    """Return the table of figure 8: a row for each latent, a column for each psi.

    Args:
        generator: The generator that has the mean w.
        sources: The latents, at least one.
        psis: 1 leaves w as it is, 0 gives the mean, -1 the opposite of w.
        cutoff: Number of styles, from the coarsest, that are truncated; None is all.
        synthesise: Called once for each image, row by row.
    """
    cells = [[synthesise(generator.truncate(source.ws, psi, cutoff), source) for psi in psis] for source in sources]
    which = "" if cutoff is None else f", the {cutoff} coarsest of {generator.num_ws} styles"
    title = f"Truncation in W: w_avg + ψ (w - w_avg){which}"
    return Grid(title, cells, [f"ψ = {psi:g}" for psi in psis], [source.label for source in sources])
