"""Compare how close networks' samples are to real images, as training networks of several widths calls for.

    python -m bench.sample_quality --real fashion32-test.zip NETWORK...

The Frechet distance between Gaussians fitted to VGG features (relu4_3 of the bundled LPIPS backbone, averaged over the
image): comparable within this table only. It is not FID, which has another network behind it.
"""

import argparse

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generator.files.reading import load
from invert.datasets.training_images import open_images
from invert.images.arrays import to_uint8
from invert.projection.perceptual import Perceptual

BATCH = 100


def features(perceptual: Perceptual, images: Tensor) -> NDArray[np.float64]:
    """Return `[N, 512]` features of uint8 images `[N, C, R, R]`."""
    x = images.float() / 127.5 - 1
    x = perceptual.model.scaling_layer(x.expand(-1, 3, -1, -1))
    return perceptual.model.net(x)[3].mean(dim=[2, 3]).double().numpy()


def frechet_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return |mu_a - mu_b|^2 + tr(A + B - 2 (A B)^1/2) of features `[N, F]` (Dowson & Landau 1982)."""
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # The trace of the root is the sum of the roots of the eigenvalues of A B, which are those of a product of two
    # positive matrices: real and not negative but for rounding.
    roots = np.sqrt(np.linalg.eigvals(cov_a @ cov_b).real.clip(min=0)).sum()
    return float(np.square(a.mean(axis=0) - b.mean(axis=0)).sum() + cov_a.trace() + cov_b.trace() - 2 * roots)


@torch.inference_mode()
def real_features(perceptual: Perceptual, data: str, count: int) -> NDArray[np.float64]:
    """Return the features of the first images of a data set."""
    images = open_images(data)
    chunks = [range(first, min(first + BATCH, count)) for first in range(0, min(count, len(images)), BATCH)]
    return np.concatenate([features(perceptual, torch.from_numpy(images.read(chunk))) for chunk in chunks])


@torch.inference_mode()
def drawn_features(perceptual: Perceptual, network: str, count: int) -> NDArray[np.float64]:
    """Return the features of samples of a network, without truncation."""
    generator = load(network).generator
    rng = torch.Generator().manual_seed(0)
    found = []
    for first in range(0, count, BATCH):
        z = torch.randn([min(BATCH, count - first), generator.config.mapping.z_dim], generator=rng)
        images = torch.from_numpy(to_uint8(generator(z, noise="random", rng=rng))).permute(0, 3, 1, 2)
        found.append(features(perceptual, images))
    return np.concatenate(found)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", metavar="NETWORK")
    parser.add_argument("--real", required=True, metavar="DATA")
    parser.add_argument("--count", type=int, default=5000, help="images of each kind")
    arguments = parser.parse_args()
    perceptual = Perceptual("vgg")
    count = min(arguments.count, len(open_images(arguments.real)) // 2)
    real = real_features(perceptual, arguments.real, 2 * count)
    print(f"{count} images of each kind\n\n| network | Frechet distance |\n|---|---|")
    print(f"| real against other real images | {frechet_distance(real[::2], real[1::2]):.2f} |", flush=True)
    for name in arguments.networks:
        print(f"| {name} | {frechet_distance(drawn_features(perceptual, name, count), real[::2]):.2f} |", flush=True)


if __name__ == "__main__":
    main()
