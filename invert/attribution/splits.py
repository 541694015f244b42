"""Populations of measured images, and their parts: to fit the score, to set the thresholds, to see what comes of it.

An image belongs to one part whatever happened to it: all that was made of it goes with it. What the score and the
groups are fitted on then has nothing to do with what sets the thresholds.
"""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from invert.attribution.kind import PopulationKind
from invert.attribution.measurements import Measurement
from invert.attribution.settings import SPLITS, UNPROCESSED

__all__ = ["Population", "divide", "split_of"]


@dataclass(frozen=True)
class Population:
    """Measured images of one origin, all processed alike.

    Args:
        name: `OWN`, or what the user called it.
        source: Where the images are from, in words.
        measurements: Measurements of distinct images, in the order of their hashes.
        left_out: How many were not used: the same pixels again, too small, diverged or unreadable.
        kind: What kind of images they are; None where that was not recorded.
        processing: What happened to them, as `invert.attribution.perturbations` has it.
        splits: Part of each image by the hash of what it was made of, see `divide`; by default that of all of them.
    """

    name: str
    source: str
    measurements: tuple[Measurement, ...] = field(repr=False)
    left_out: int = 0
    kind: PopulationKind | None = None
    processing: str = UNPROCESSED
    splits: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(
        cls, name: str, source: str, found: Sequence[Measurement], failed: int = 0, processing: str = UNPROCESSED
    ) -> "Population":
        """Take the usable images among those measured, each content once."""
        usable = {one.pixel_sha256: one for one in found if one.is_usable}
        kept = tuple(usable[key] for key in sorted(usable))
        kinds = [one.kind for one in kept if one.kind is not None]
        kind = PopulationKind.of(kinds) if kinds and len(kinds) == len(kept) else None
        return cls(name, source, kept, len(found) - len(kept) + failed, kind, processing)

    @property
    def label(self) -> str:
        """Name and processing, by which it is told from the others of a calibration."""
        return self.name if self.processing == UNPROCESSED else f"{self.name} after {self.processing}"

    def kind_in(self, resolution: int) -> PopulationKind:
        """Return the kind of its images; where that was not recorded, that of a network's samples of this size."""
        kind = self.kind or PopulationKind.assumed(resolution)
        qualities = [step.partition(":")[2] for step in self.processing.split("+") if step.startswith("jpeg:")]
        return kind.with_jpeg(round(float(qualities[-1]))) if qualities else kind

    @property
    def sha256(self) -> str:
        """Hash of the pixel hashes of its images, a line each."""
        lines = "".join(f"{one.pixel_sha256}\n" for one in self.measurements)
        return hashlib.sha256(lines.encode()).hexdigest()

    def part(self, split: str) -> tuple[Measurement, ...]:
        """Return the images of one of `SPLITS`."""
        return self._parts[split]

    @cached_property
    def _parts(self) -> dict[str, tuple[Measurement, ...]]:
        sources = [one.source for one in self.measurements]
        its = self.splits or dict(zip(sources, split_of(sources), strict=True))
        return {split: tuple(one for one in self.measurements if its[one.source] == split) for split in SPLITS}


def divide(populations: Sequence[Population], shares: Callable[[str], Mapping[str, float]]) -> tuple[Population, ...]:
    """Return the populations with their parts: those of one origin are divided alike, whatever happened to them.

    Args:
        populations: The populations.
        shares: Gives the share of each of `SPLITS` in the population of a name.
    """
    sources: dict[str, set[str]] = {}
    for one in populations:
        sources.setdefault(one.name, set()).update(image.source for image in one.measurements)
    splits = {}
    for name, its in sources.items():
        ordered = sorted(its)
        splits[name] = dict(zip(ordered, split_of(ordered, shares(name)), strict=True))
    return tuple(dataclasses.replace(one, splits=splits[one.name]) for one in populations)


def split_of(pixel_sha256: Sequence[str], shares: Mapping[str, float] = SPLITS) -> list[str]:
    """Return the part of each of distinct images; names and order play no role.

    Args:
        pixel_sha256: Hashes of their pixels.
        shares: Share of each of `SPLITS`.
    """
    shuffled = sorted(pixel_sha256, key=lambda digest: hashlib.sha256(f"split/{digest}".encode()).digest())
    # The threshold's part is rounded up: a rate may need the last of its images.
    fit, threshold = int(len(shuffled) * shares["fit"]), math.ceil(len(shuffled) * shares["threshold"])
    named = {
        digest: "fit" if place < fit else "threshold" if place < fit + threshold else "held-out"
        for place, digest in enumerate(shuffled)
    }
    return [named[digest] for digest in pixel_sha256]
