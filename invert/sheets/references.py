"""Which latents a user means: seeds such as 5 or 7-9, files such as photo.npz, latents.h5:3 or latents.pt:0."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from invert.errors import display_path

__all__ = ["ARRAY_FILES", "GRAMMAR", "MAX_REFERENCES", "ProjectedLatent", "Reference", "Seed", "parse_references"]

GRAMMAR = "seeds (5, 7-9) and projections (photo.npz, latents.h5:3), with commas between them"

MAX_REFERENCES = 10_000

_SEEDS = re.compile(r"(\d{1,10})(?:-(\d{1,10}))?", re.ASCII)
_ROWS = re.compile(r"(.+):(\d{1,10})(?:-(\d{1,10}))?", re.ASCII | re.DOTALL)
_HDF5 = (".h5", ".hdf5")
ARRAY_FILES = (".npz", ".npy", ".pt", ".pth")
"""Suffixes of files that may hold one latent alone, so that no row has to be named."""


@dataclass(frozen=True)
class Seed:
    """A latent z that is drawn with a seed.

    Attributes:
        number: The seed, 0 to 2^32 - 1.
    """

    number: int

    @property
    def label(self) -> str:
        """Say which latent it is, in few characters."""
        return f"seed {self.number}"


@dataclass(frozen=True)
class ProjectedLatent:
    """A w that `invert project` or another program found.

    Attributes:
        path: A .npz, an HDF5 file, or latents of another program.
        row: Which of the latents of the file, counted from 0; None for the only one.
    """

    path: Path
    row: int | None = None

    @property
    def label(self) -> str:
        """Say which latent it is, in few characters that are safe to show."""
        name = display_path(self.path.name)
        return name if self.row is None else f"{name}:{self.row}"


Reference = Seed | ProjectedLatent


def parse_references(text: str, most: int = MAX_REFERENCES) -> tuple[Reference, ...]:
    """Read a list of latents, in the order given; the same may be there twice.

    Args:
        text: Seeds `5` or `7-9`, files `NAME.npz`, `.npy` or `.pt`, rows `NAME.h5:3` or `NAME.pt:3-5`, with commas
            between them. A name with a comma in it can be given alone.
        most: How many there may be.

    Raises:
        ValueError: It is no such list, or names more latents than that.
    """
    # What was given alone and is there may have commas in its name.
    alone = text.lower().endswith(ARRAY_FILES) and Path(text).is_file()
    found: list[Reference] = []
    for piece in [text] if alone else text.split(","):
        found += _references(piece.strip(), most - len(found), most)
    return tuple(found)


def _references(piece: str, room: int, most: int) -> Iterator[Reference]:
    if match := _SEEDS.fullmatch(piece):
        numbers = _range(piece, match[1], match[2], room, most)
        if numbers[-1] >= 1 << 32:
            raise ValueError(f"{piece!r} is not below 2^32")
        yield from map(Seed, numbers)
    elif piece.lower().endswith(ARRAY_FILES):
        _range(piece, "0", None, room, most)
        yield ProjectedLatent(Path(piece))
    elif match := _ROWS.fullmatch(piece):
        yield from (ProjectedLatent(Path(match[1]), row) for row in _range(piece, match[2], match[3], room, most))
    elif piece.lower().endswith(_HDF5):
        raise ValueError(f"'{display_path(piece)}' has many latents: name a row, such as {display_path(piece)}:0")
    else:
        raise ValueError(f"'{display_path(piece)}' is none of {GRAMMAR}")


def _range(piece: str, first: str, last: str | None, room: int, most: int) -> range:
    numbers = range(int(first), int(last or first) + 1)
    if not numbers:
        raise ValueError(f"'{display_path(piece)}' does not run upwards")
    if len(numbers) > room:
        raise ValueError(f"more than {most} latents")
    return numbers
