"""The images that attribution is calibrated and tested on, as 8-bit PNG files; indices were fixed before any score.

    python -m bench.populations runs/populations [--fashion-mnist DIR] [--test 300]

Real images are of Fashion-MNIST (Debian package dataset-fashion-mnist), padded to 32 x 32: the networks were trained
on its training set and have never seen its test set. `data/samples/` has images 0 to 31 and seeds 0 to 31.
"""

import argparse
import gzip
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from generator.files.reading import load
from invert.durable import ensure_folder, write_atomic
from invert.images.decoding import to_png_bytes
from invert.projection.latents import draw_image, seed_latent

NETWORKS = Path(__file__).parent.parent / "data" / "networks"
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")

# Calibration: real images of the test set, and samples of B; A's own are drawn by `invert calibrate`.
CALIBRATION = {"real": ("t10k", 1000, 640), "B": ("B", 200_000, 1280)}
# The real images that the two families' networks are calibrated with: the first of A's.
FAMILIES = (1000, 160)
# Tests: source, first index or seed, truncation, noise.
TESTS = {
    "own": ("A", 300_000, 1.0, "const"),
    "real": ("t10k", 2000, 1.0, ""),
    "training": ("train", 1000, 1.0, ""),
    "B": ("B", 300_000, 1.0, "const"),
    "C": ("C", 300_000, 1.0, "const"),
    "own psi 0.7": ("A", 400_000, 0.7, "const"),
    "own psi 0.5": ("A", 500_000, 0.5, "const"),
    "own random noise": ("A", 600_000, 1.0, "random"),
}


def fashion(folder: Path, part: str) -> NDArray[np.uint8]:
    """Return the images of "t10k" or "train", uint8 `[N, 28, 28]`."""
    data = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())
    return np.frombuffer(data, np.uint8, offset=16).reshape(-1, 28, 28)


def write_real(folder: Path, source: Path, part: str, first: int, count: int) -> None:
    """Write real images."""
    ensure_folder(folder)
    images = fashion(source, part)
    for index in range(first, first + count):
        path = folder / f"{index:05d}.png"
        if not path.exists():
            write_atomic(path, to_png_bytes(np.pad(images[index], 2)[:, :, None]))


@torch.inference_mode()
def write_samples(folder: Path, network: str, first: int, count: int, psi: float = 1.0, noise: str = "const") -> None:
    """Write samples of one of the project's networks, as `invert generate` draws them."""
    ensure_folder(folder)
    generator = load(NETWORKS / f"{network}.safetensors").generator.eval()
    for seed in range(first, first + count):
        path = folder / f"seed{seed}.png"
        if not path.exists():
            z = seed_latent(seed, generator.config.mapping.z_dim)
            image = draw_image(generator, generator.mapping_ws(z, truncation_psi=psi), noise, seed)
            write_atomic(path, to_png_bytes(image))


def write_populations(folder: Path, source: Path, test: int, *, calibration: bool = True) -> None:
    """Write all populations: `calibration/NAME`, `families`, and `test/NAME`."""
    for name, (kind, first, count) in CALIBRATION.items() if calibration else ():
        if kind in ("t10k", "train"):
            write_real(folder / "calibration" / name, source, kind, first, count)
        else:
            write_samples(folder / "calibration" / name, kind, first, count)
    if calibration:
        write_real(folder / "families", source, "t10k", *FAMILIES)
    for name, (kind, first, psi, noise) in TESTS.items():
        if kind in ("t10k", "train"):
            write_real(folder / "test" / name, source, kind, first, test)
        else:
            write_samples(folder / "test" / name, kind, first, test, psi, noise)


def main() -> None:
    """Write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fashion-mnist", type=Path, default=FASHION_MNIST)
    parser.add_argument("--test", type=int, default=300, help="images of each test population")
    arguments = parser.parse_args()
    write_populations(arguments.folder, arguments.fashion_mnist, arguments.test)


if __name__ == "__main__":
    main()
