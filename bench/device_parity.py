"""Whether a GPU measures what the processor measures: distances of the sample images on both, and their order.

    python -m bench.device_parity --device cuda

Projects images by preset verdict, on which calibrations rest, on the CPU and on another device, and prints the rank
correlation of the distances (aim: more than 0.999) and how far they differ.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

import invert

DATA = Path(__file__).parent.parent / "data"
AIM = 0.999


def distances(network: Path, images: list[Path], device: str) -> np.ndarray:
    """Return the images' distances `[N]` on a device."""
    found = invert.project(images, network, preset="verdict", device=device)
    return np.array([projection.distance for projection in found])


def main() -> int:
    """Print the comparison; return 1 where the aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", type=Path, default=DATA / "networks" / "A.safetensors")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--images", type=int, default=32, help="of each kind")
    arguments = parser.parse_args()
    kinds = (DATA / "samples" / kind for kind in ("A", "B", "real", "training"))
    images = [path for kind in kinds for path in sorted(kind.glob("*.png"))[: arguments.images]]
    there, here = (distances(arguments.network, images, device) for device in (arguments.device, "cpu"))
    correlation = float(spearmanr(here, there).statistic)
    moved = np.abs(there / here - 1)
    print(
        f"{len(images)} images on {arguments.device} and cpu: rank correlation {correlation:.5f} (aim {AIM}), "
        f"distances differ by {np.median(moved):.2%} in the median and {moved.max():.1%} at most"
    )
    return int(not correlation > AIM)


if __name__ == "__main__":
    raise SystemExit(main())
