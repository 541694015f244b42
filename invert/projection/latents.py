"""Where w lives: the centre and spread of W, and the point an optimisation starts from.

Reference: Karras et al. 2020, appendix D.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from generator.networks import Generator
from invert.errors import UsageError
from invert.projection.cache import cached_file, keep_arrays, read_arrays

__all__ = [
    "LatentStatistics",
    "Start",
    "Targets",
    "check_class",
    "check_cutoff",
    "class_label",
    "kept_statistics",
    "latent_statistics",
    "random_stream",
    "sample_w",
    "seed_latent",
    "start_at_centre",
]

_CHUNK = 1000  # latents mapped at once


@dataclass(frozen=True)
class LatentStatistics:
    """Where the w of a network lie.

    Attributes:
        centre: Mean w `[w_dim]`.
        deviation: sqrt(E |w - centre|^2), one number over all dimensions.
    """

    centre: Tensor
    deviation: float


@dataclass(frozen=True, eq=False)
class Targets:
    """Images that latents are searched for.

    Attributes:
        pixels: `[N, C, H, W]` in [-1, 1].
        digests: `pixel_sha256` of each.
        masks: 1 where a pixel counts and else 0, float32 `[N, 1, H, W]`; None where all of them count.
        paths: Where each of them lies.
    """

    pixels: Tensor
    digests: tuple[str, ...]
    masks: Tensor | None = None
    paths: tuple[str, ...] = ()


Start = Callable[[LatentStatistics, Targets, int], Tensor]
"""Takes what is known of W, the targets and the number of the restart; returns w `[N, 1, w_dim]`, or
`[N, styles, w_dim]` where W+ is searched."""


def start_at_centre(statistics: LatentStatistics, targets: Targets, restart: int) -> Tensor:
    """Return the centre of W for each of the targets, `[N, 1, w_dim]`."""
    return statistics.centre.repeat(len(targets.pixels), 1, 1)


def latent_statistics(
    generator: Generator, *, samples: int = 10_000, seed: int = 123, class_index: int | None = None
) -> LatentStatistics:
    """Map `samples` latents of a fixed seed and measure where they fall.

    Args:
        generator: Its mapping network is used.
        samples: How many z are drawn, from numpy's RandomState as in the public code.
        seed: Seed of those z; never the projection's own, so that distances stay comparable.
        class_index: The class of a conditional network, or None for labels uniform over its classes.
    """
    w = sample_w(generator, samples, seed=seed, class_index=class_index)
    device, w = w.device, w.to("cpu", torch.float64)
    centre = w.mean(dim=0)
    deviation = float((w - centre).square().sum(dim=1).mean().sqrt())
    return LatentStatistics(centre.to(device, torch.float32), deviation)


def kept_statistics(
    generator: Generator, *, samples: int, seed: int, class_index: int | None, weights_sha256: str, arithmetic: str
) -> LatentStatistics:
    """Return the statistics of a network from the user's cache, and measure and keep them where they are not there.

    Args:
        generator: As for `latent_statistics`, and so are samples, seed and class_index.
        weights_sha256: Names the network in the cache.
        arithmetic: What the last bits depend on: device, threads, version of torch.
    """
    digest = hashlib.sha256(arithmetic.encode()).hexdigest()[:16]
    path = cached_file("statistics", f"{weights_sha256}-{class_index}-{samples}-{seed}-{digest}.npz")
    shapes = {"centre": (np.float32, (generator.config.mapping.w_dim,)), "deviation": (np.float64, ())}
    found = read_arrays(path, shapes)
    if found is not None:
        centre = torch.from_numpy(found["centre"]).to(generator.mapping.w_avg.device)
        return LatentStatistics(centre, float(found["deviation"]))
    measured = latent_statistics(generator, samples=samples, seed=seed, class_index=class_index)
    keep_arrays(path, centre=measured.centre.cpu().numpy(), deviation=np.float64(measured.deviation))
    return measured


@torch.no_grad()
def sample_w(generator: Generator, samples: int, *, seed: int, class_index: int | None = None) -> Tensor:
    """Map latents of a seed: w `[samples, w_dim]`, float32; see `latent_statistics` for the arguments."""
    config = generator.config.mapping
    random = np.random.RandomState(seed)
    z = torch.from_numpy(random.randn(samples, config.z_dim).astype(np.float32))
    labels = None
    if config.c_dim:
        drawn = random.randint(config.c_dim, size=samples)
        classes = drawn if class_index is None else np.full(samples, class_index)
        labels = torch.nn.functional.one_hot(torch.from_numpy(classes), config.c_dim).to(torch.float32)
    device = generator.mapping.w_avg.device
    chunks = []
    for i in range(0, samples, _CHUNK):
        c = None if labels is None else labels[i : i + _CHUNK].to(device)
        chunks.append(generator.mapping(z[i : i + _CHUNK].to(device), c))
    return torch.cat(chunks).to(torch.float32)


def seed_latent(seed: int, z_dim: int) -> Tensor:
    """Return z `[1, z_dim]` of a seed, as in the published code: numpy.random.RandomState(seed).randn(1, z_dim).

    Args:
        seed: In 0..2^32 - 1.
        z_dim: Size of the network's z.
    """
    return torch.from_numpy(np.random.RandomState(seed).randn(1, z_dim)).float()


def random_stream(seed: int, pixel_sha256: str, restart: int) -> torch.Generator:
    """Return the random stream of one optimisation of one image, on the CPU whatever the device."""
    digest = hashlib.sha256(f"{seed}/{pixel_sha256}/{restart}".encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "little"))


def check_class(class_index: int | None, c_dim: int, *, required: bool = False) -> None:
    """Validate a class against the labels that a network takes.

    Args:
        class_index: From 0, or None.
        c_dim: How many classes the network has; 0 for one without labels.
        required: Whether None will not do for a network with classes.

    Raises:
        UsageError: The network has no such class, has none at all, or needs one.
    """
    if class_index is not None and c_dim == 0:
        raise UsageError("--class was given, but the network has no classes", advice="Leave --class out.")
    if class_index is not None and class_index >= c_dim:
        raise UsageError(f"--class {class_index} is not one of the network's {c_dim} classes, 0 to {c_dim - 1}")
    if class_index is None and required and c_dim > 0:
        raise UsageError(f"the network has {c_dim} classes", advice=f"Choose one with --class 0 to {c_dim - 1}.")


def check_cutoff(cutoff: int | None, styles: int) -> None:
    """Validate how many styles are truncated.

    Args:
        cutoff: How many, from the coarsest; None is all.
        styles: How many styles the network has.

    Raises:
        UsageError: The network has fewer.
    """
    if cutoff is not None and not 0 <= cutoff <= styles:
        raise UsageError(f"--cutoff {cutoff}: the network has {styles} styles")


def class_label(class_index: int | None, c_dim: int) -> Tensor | None:
    """Return the label `[1, c_dim]` of a class; None for None."""
    if class_index is None:
        return None
    return torch.nn.functional.one_hot(torch.tensor([class_index]), c_dim).float()
