"""Latents moved along directions, and the sheet of their images.

moves = moves_along(directions, styles=None, num_ws=generator.num_ws)
for edited in edit_latent(generator, source, moves, [-2, 0, 2], synthesise): edited.image
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generator.networks import Generator
from invert.editing.directions import Directions
from invert.errors import UsageError, visible
from invert.sheets.layout import Grid
from invert.sheets.mixing import range_text
from invert.sheets.sources import Source, Synthesise

__all__ = ["Edited", "Move", "edit_grid", "edit_latent", "joined", "moved", "moves_along", "no_move", "with_notes"]


@dataclass(frozen=True, eq=False)
class Move:
    """A way in W: what an amount of 1 adds to styles.

    Attributes:
        name: What it is called.
        step: float32 `[num_ws, w_dim]`; zero in the styles that it leaves alone.
        note: More about it, for its label.
    """

    name: str
    step: NDArray[np.float32]
    note: str = ""


@dataclass(frozen=True, eq=False)
class Edited:
    """A latent that was moved, and its image.

    Attributes:
        direction: Name of the direction.
        amount: How far, in standard deviations of W along the direction.
        image: uint8 `[H, W, C]`.
        w: float32 `[num_ws, w_dim]`, with the move in it.
    """

    direction: str
    amount: float
    image: NDArray[np.uint8]
    w: NDArray[np.float32]


def moves_along(directions: Directions, styles: Sequence[int] | None, num_ws: int) -> list[Move]:
    """Return a move along each direction.

    Args:
        directions: The directions.
        styles: The styles that are moved; None: those that the directions were found for.
        num_ws: Number of the network's styles.

    Raises:
        UsageError: The network has no such style.
    """
    chosen = directions.styles if styles is None else tuple(sorted(set(styles)))
    chosen = tuple(range(num_ws)) if chosen is None else chosen
    far = next((style for style in chosen if not 0 <= style < num_ws), None)
    if far is not None:
        raise UsageError(f"style {far}: the network has {num_ws} styles, 0 to {num_ws - 1}", advice="Give --styles.")
    note = "" if len(chosen) == num_ws else f"styles {range_text(chosen)}"
    moves = []
    for name, vector, deviation in zip(directions.names, directions.vectors, directions.deviations, strict=True):
        step = np.zeros([num_ws, len(vector)], np.float32)
        step[list(chosen)] = deviation * vector
        moves.append(Move(visible(name), step, note))
    return moves


def no_move(num_ws: int, w_dim: int) -> Move:
    """Return the move that leaves everything as it is."""
    return Move("unchanged", np.zeros([num_ws, w_dim], np.float32))


def joined(moves: Sequence[Move]) -> Move:
    """Return the move along several directions at once."""
    step: Any = sum((move.step for move in moves[1:]), start=moves[0].step)
    return Move(" + ".join(move.name for move in moves), step, moves[0].note)


def moved(ws: Tensor, move: Move, amount: float) -> Tensor:
    """Return styles `[1, num_ws, w_dim]` moved by an amount; by 0 they stay as they are, to the bit."""
    if amount == 0:
        return ws
    return ws + amount * torch.from_numpy(move.step).to(ws.device)


@torch.inference_mode()
def edit_latent(
    generator: Generator,
    source: Source,
    moves: Sequence[Move],
    amounts: Sequence[float],
    synthesise: Synthesise,
    *,
    truncation_psi: float = 1.0,
    truncation_cutoff: int | None = None,
) -> Iterator[Edited]:
    """Yield the images of a latent moved along each direction by each amount, direction by direction.

    Args:
        generator: In evaluation mode.
        source: The latent, whose noise all images have.
        moves: The ways.
        amounts: How far.
        synthesise: Makes images, without truncation.
        truncation_psi: Truncation of the latent before it is moved; 1 leaves it as it is.
        truncation_cutoff: How many styles, from the coarsest, are truncated; None is all.
    """
    ws = generator.truncate(source.ws, truncation_psi, truncation_cutoff)
    for move in moves:
        for amount in amounts:
            styles = moved(ws, move, amount)
            yield Edited(move.name, amount, synthesise(styles, source), styles[0].cpu().numpy())


def edit_grid(label: str, moves: Sequence[Move], amounts: Sequence[float], images: Sequence[NDArray[np.uint8]]) -> Grid:
    """Return the table of a latent that was edited: a row for each direction, a column for each amount.

    Args:
        label: Which latent it is.
        moves: The directions.
        amounts: The amounts.
        images: Of the first direction with each amount, then of the second, and so on.
    """
    cells = [list(images[row * len(amounts) : (row + 1) * len(amounts)]) for row in range(len(moves))]
    title = f"{label[:1].upper()}{label[1:]} moved along directions, by so many standard deviations of W"
    columns = [f"{amount:+g}" if amount else "0" for amount in amounts]
    rows = [f"{move.name}\n{move.note}" if move.note else move.name for move in moves]
    return Grid(title, cells, columns, rows)


def with_notes(moves: Sequence[Move], notes: Sequence[str]) -> list[Move]:
    """Return moves with other notes."""
    return [replace(move, note=note) for move, note in zip(moves, notes, strict=True)]
