"""Pivotal tuning: fit the generator's weights to one image, around the latents that were found for it.

    tuner = Tuner(generator, perceptual, statistics)
    for distance in tuner.steps(generator_copy, image, steps=350): ...

The tuned generator belongs to its image; no verdict can rest on it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.adam import adam

from generator.networks import Generator
from invert.projection.latents import class_label
from invert.projection.objective import Comparison
from invert.projection.perceptual import Perceptual

__all__ = ["TuningTask", "tuned_copy", "tuning_steps"]

_RATE = 3e-4
_ALPHA = 30.0  # how far from the pivot the regulariser looks, in units of w
_LOCALITY = 0.1  # weight of both its terms


@dataclass(frozen=True, eq=False)
class TuningTask:
    """One image, and the pivot that was found for it.

    Attributes:
        target: `[1, C, H, W]` in [-1, 1].
        mask: 1 where a pixel counts and else 0, `[1, 1, H, W]`; None where all of them do.
        styles: The pivot `[1, styles, w_dim]`.
        noise: Maps `[1, 1, r, r]` by layer; they stay as they are.
        stream: Random numbers of the regulariser, on the CPU.
        class_index: Class of a conditional network; None draws one in each step.
    """

    target: Tensor
    mask: Tensor | None
    styles: Tensor
    noise: dict[str, Tensor]
    stream: torch.Generator
    class_index: int | None = None

    def seen(self, image: Tensor) -> Tensor:
        """Return an image `[1, C, H, W]` as it is compared: grey where nothing counts."""
        return image if self.mask is None else image * self.mask

    @torch.no_grad()
    def measure(self, generator: Generator, perceptual: Perceptual) -> Comparison:
        """Return how near the image of the pivot is to the target."""
        image = generator.synthesis(self.styles, self.noise)
        distances, shares = perceptual.distance(self.seen(image), perceptual.prepare(self.seen(self.target)))
        return Comparison(distances, shares, image)


def tuned_copy(generator: Generator) -> Generator:
    """Return a copy of a frozen generator whose synthesis network can be tuned."""
    # Not a deep copy, which would have the scaled weights that a frozen network keeps.
    tuned = Generator(generator.config).eval().requires_grad_(False)
    tuned.load_state_dict(generator.state_dict())
    tuned.to(generator.mapping.w_avg.device).to(memory_format=torch.channels_last)
    tuned.synthesis.requires_grad_(True)
    return tuned


def tuning_steps(
    tuned: Generator, original: Generator, perceptual: Perceptual, task: TuningTask, steps: int
) -> Iterator[float]:
    """Tune a generator in place, and yield the LPIPS distance before each step; frozen again at the end.

    Minimised are LPIPS and the mean squared difference of the pixels, and the same two, with a tenth of the weight,
    between the tuned and the original generator at a place near the pivot, on the way to a fresh sample. A step that
    is not finite ends it, at the weights before.

    Args:
        tuned: From `tuned_copy`.
        original: The generator as it was, frozen.
        perceptual: The distance.
        task: What it is tuned to.
        steps: How many steps.

    Reference: Roich et al. 2021, equations 2 to 5. There the place is 30 from the pivot, wherever the sample is; here
    it is never beyond the sample, for the spread of W is another in each network.
    """
    target = task.seen(task.target)
    features = perceptual.prepare(target)
    parameters: list[Tensor] = [parameter for parameter in tuned.synthesis.parameters() if parameter.requires_grad]
    means = [torch.zeros_like(parameter) for parameter in parameters]
    squares = [torch.zeros_like(parameter) for parameter in parameters]
    counts = [torch.zeros([], device=parameter.device) for parameter in parameters]
    for _ in range(steps):
        image = task.seen(tuned.synthesis(task.styles, task.noise))
        distance, _ = perceptual.distance(image, features)
        loss = distance[0] + (image - target).square().mean() + _locality(tuned, original, perceptual, task)
        gradients = torch.autograd.grad(loss, parameters)
        if not _is_finite([loss, *gradients]):
            break
        yield float(distance.detach())
        with torch.no_grad():
            adam(
                parameters,
                list(gradients),
                means,
                squares,
                [],
                counts,
                fused=True,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=_RATE,
                weight_decay=0.0,
                eps=1e-8,
                maximize=False,
            )
    tuned.requires_grad_(False)


def _locality(tuned: Generator, original: Generator, perceptual: Perceptual, task: TuningTask) -> Tensor:
    """Return how far the tuned generator has moved at a place near the pivot."""
    mapping = original.config.mapping
    z = torch.randn([1, mapping.z_dim], generator=task.stream).to(task.styles.device)
    index = task.class_index
    if mapping.c_dim and index is None:
        index = int(torch.randint(mapping.c_dim, [], generator=task.stream))
    label = class_label(index, mapping.c_dim)
    with torch.no_grad():
        w = original.mapping(z, None if label is None else label.to(z.device))
        way = original.broadcast(w) - task.styles
        length = way.norm(dim=2, keepdim=True)  # [1, styles, 1]
        place = task.styles + way * (_ALPHA / length).clamp(max=1)
        before = original.synthesis(place, task.noise)
        features = perceptual.prepare(before)
    after = tuned.synthesis(place, task.noise)
    distance, _ = perceptual.distance(after, features)
    moved: Tensor = distance[0] + (after - before).square().mean()
    return _LOCALITY * moved


def _is_finite(tensors: Sequence[Tensor]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors)
