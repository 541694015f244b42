"""The sweep: the w of every seed, mapped once for all images, of which the nearest to each image are kept.

Nearness is the angle between w - w_avg of the seed and of the image, in the metric of what images show of w: truncation
moves w along the line to w_avg, whichever psi it has. One metric serves all images, so that a seed costs a product with
a matrix and one number for each image; the few that are kept are ranked again with each image's own.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from generator.networks import Generator
from generator.ops.seeded_normal import seeded_normal
from invert.projection.latents import class_label
from invert.seeds.recovered import View

__all__ = ["KEPT", "MOST_SEEDS", "Shortlist", "map_seeds", "sweep"]

MOST_SEEDS = 1 << 32
KEPT = 1000
"""How many seeds are kept of each image."""

_AT_ONCE = 4096  # seeds that are mapped together
_METRIC_IMAGES = 8  # images of whose responses the metric is the mean
_DIRECTIONS = 128  # of w that are compared: what images show most


@dataclass(frozen=True, eq=False)
class Shortlist:
    """The seeds whose w are nearest to that of one image.

    Attributes:
        seeds: int64 `[K]`.
        classes: int64 `[K]`: index into the classes that were searched.
    """

    seeds: Tensor
    classes: Tensor


@torch.no_grad()
def map_seeds(generator: Generator, seeds: Tensor, class_index: int | None) -> Tensor:
    """Return w `[N, w_dim]` of seeds int64 `[N]`, as the published programs draw z."""
    return _map(generator, seeded_normal(seeds, generator.config.mapping.z_dim), class_index)


def _map(generator: Generator, z: Tensor, class_index: int | None) -> Tensor:
    device = generator.mapping.w_avg.device
    label = class_label(class_index, generator.config.mapping.c_dim)
    c = None if label is None else label.to(device).expand(len(z), -1)
    w: Tensor = generator.mapping(z.to(device), c)
    return w


def shared_metric(views: Sequence[View]) -> Tensor:
    """Return the root `[w_dim, D]` of a metric of all images: |root' step|^2 is about what they show of a step of w.

    It is the mean of those of the images that the network explains best, in its leading directions.
    """
    chosen = sorted(views, key=lambda view: view.recovered.misses)[:_METRIC_IMAGES]
    w_dim = len(chosen[0].w)
    total = torch.zeros([w_dim, w_dim], dtype=torch.float64)
    for view in chosen:
        rows = view.response()[0].double().cpu()
        metric = rows.T @ rows
        weight = float(metric.trace())
        if math.isfinite(weight) and weight > 0:
            total += metric / weight
    values, vectors = torch.linalg.eigh(total)
    root: Tensor = (vectors * values.clamp_min(0).sqrt()).flip(1)[:, :_DIRECTIONS]
    return root


@torch.no_grad()
def sweep(
    generator: Generator,
    views: Sequence[View],
    maximum: int,
    classes: Sequence[int | None],
    on_progress: Callable[[int], None] = lambda _: None,
) -> list[Shortlist]:
    """Map the seeds 0 to maximum - 1, and return those nearest to each image.

    Args:
        generator: The network.
        views: The images.
        maximum: How many seeds, at most 2^32.
        classes: Classes of a conditional network, each with every seed; [None] for one without.
        on_progress: Called with how many more seeds are done, each class counted.
    """
    w_avg = generator.mapping.w_avg
    root = shared_metric(views).to(w_avg)
    wanted = torch.stack([view.w - w_avg for view in views]) @ root  # [n, w_dim]
    wanted = (wanted / wanted.norm(dim=1, keepdim=True).clamp_min(1e-30)).T
    best = torch.full([len(views), 0], -1.0, device=w_avg.device)
    codes = torch.zeros([len(views), 0], dtype=torch.int64, device=w_avg.device)
    for seeds in _pieces(maximum):
        z = seeded_normal(seeds, generator.config.mapping.z_dim)
        for number, class_index in enumerate(classes):
            found = (_map(generator, z, class_index) - w_avg) @ root
            near = (found @ wanted).abs_() / found.norm(dim=1, keepdim=True).clamp_min(1e-30)
            scores, rows = torch.topk(near.T, min(KEPT, len(seeds)), dim=1)
            best = torch.cat([best, scores], dim=1)
            codes = torch.cat([codes, seeds.to(rows.device)[rows] * len(classes) + number], dim=1)
            best, order = torch.topk(best, min(KEPT, best.shape[1]), dim=1)
            codes = codes.gather(1, order)
        on_progress(len(seeds) * len(classes))
    return [Shortlist(row // len(classes), row % len(classes)) for row in codes.cpu()]


def _pieces(maximum: int) -> Iterator[Tensor]:
    for first in range(0, maximum, _AT_ONCE):
        yield torch.arange(first, min(first + _AT_ONCE, maximum))
