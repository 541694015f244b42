"""Truncation in W: how pictures change on the way from their own w to the mean, and beyond it.

Reference: Karras et al. 2019, appendix B and figure 8.
"""

from collections.abc import Sequence

from generator.networks import Generator
from invert.sheets.drawing import Draw
from invert.sheets.layout import Grid
from invert.sheets.sources import Source

__all__ = ["truncation_grid"]


def truncation_grid(
    generator: Generator, sources: Sequence[Source], psis: Sequence[float], cutoff: int | None, draw: Draw
) -> Grid:
    """Return the table of figure 8: a row for each latent, a column for each psi.

    Args:
        generator: Whose mean w it is. sources: At least one.
        psis: 1 leaves w as it is, 0 gives the mean, -1 the opposite of w.
        cutoff: Number of styles, from the coarsest, that are truncated; None is all.
        draw: Called once for each picture, row by row.
    """
    cells = [[draw(generator.truncate(source.ws, psi, cutoff), source.seed) for psi in psis] for source in sources]
    which = "" if cutoff is None else f", the {cutoff} coarsest of {generator.num_ws} styles"
    title = f"Truncation in W: w_avg + ψ (w - w_avg){which}"
    return Grid(title, cells, [f"ψ = {psi:g}" for psi in psis], [source.label for source in sources])
