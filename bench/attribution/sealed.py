"""Sealed populations: images that calibrated nothing, and that no method was tuned on.

Their seeds and indices are those of no bank, whitening, calibration, test or trial of this project; nothing is changed
after a look at them.
"""

from dataclasses import dataclass
from pathlib import Path

from bench.populations import write_real, write_samples
from invert.attribution.settings import OWN

__all__ = ["FOREIGN", "OTHERS", "RANDOM", "SEALED", "TRUNCATED", "Origin", "write_sealed"]

RANDOM = "own random noise"


@dataclass(frozen=True)
class Origin:
    """Where the images of a population are from.

    Attributes:
        source: A network of data/networks, or "t10k" or "train" of Fashion-MNIST.
        first: The first seed, or index.
        psi: Truncation of samples.
        noise: Noise maps of samples, "const" or "random".
    """

    source: str
    first: int
    psi: float = 1.0
    noise: str = "const"

    @property
    def is_real(self) -> bool:
        """Whether the images are no network's."""
        return self.source in ("t10k", "train")


SEALED = {
    OWN: Origin("A", 70_000_000),
    RANDOM: Origin("A", 70_100_000, noise="random"),
    "own psi 0.7": Origin("A", 70_200_000, psi=0.7),
    "own psi 0.5": Origin("A", 70_300_000, psi=0.5),
    "real": Origin("t10k", 7000),
    "B": Origin("B", 70_400_000),
    "C": Origin("C", 70_500_000),
    "training": Origin("train", 30_000),
    "B psi 0.5": Origin("B", 70_600_000, psi=0.5),
    "stylegan2": Origin("stylegan2", 70_700_000),
    "stylegan": Origin("stylegan", 70_800_000),
}
"""All populations by name."""

TRUNCATED = ("own psi 0.7", "own psi 0.5")
OTHERS = ("real", "B", "C")
"""The populations of others that the promise is tested on after each processing."""

FOREIGN = (*OTHERS, "training", "B psi 0.5", "stylegan2", "stylegan")
"""All that are not the network's own."""

MOST = 3000
"""Images of a population; there are no more real ones."""


def write_sealed(fashion_mnist: Path, folder: Path, name: str, count: int) -> Path:
    """Write the first images of a population, and return their folder.

    Args:
        fashion_mnist: Folder of the Fashion-MNIST files.
        folder: What the folders of populations are in.
        name: One of `SEALED`.
        count: How many, up to `MOST`.
    """
    if not 0 < count <= MOST:
        raise ValueError(f"{count} images: a sealed population has 1 to {MOST}")
    one, out = SEALED[name], folder / name.replace(" ", "-")
    if one.is_real:
        write_real(out, fashion_mnist, one.source, one.first, count)
    else:
        write_samples(out, one.source, one.first, count, one.psi, one.noise)
    return out
