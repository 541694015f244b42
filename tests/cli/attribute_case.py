"""How small networks are calibrated, and samples of them."""

from pathlib import Path

from tests.cli.conftest import Invert

QUICK = ("--steps", 5, "--lpips", "alex", "--bank", 40, "--batch", 4, "--threads", 1, "--workers", 1)
LOOSE = ("--fpr", 0.3, "--count", 24)
"""A rate of 30 % needs 9 negatives for the threshold, 17 in all: a test of the way, not of the numbers."""


def own_images(invert: Invert, case: Path, folder: Path, seeds: str = "0-3") -> Path:
    """Write samples of the network of a case to a folder."""
    assert invert("generate", "--network", case / "net.pkl", "--seeds", seeds, "--out", folder).code == 0
    return folder
