"""One optimisation of a batch of images: what is minimised, and the step that does it.

Reference: Karras et al. 2020, appendix D.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from generator.networks import Generator
from invert.projection.latents import LatentStatistics
from invert.projection.noise import NoiseMaps
from invert.projection.perceptual import Perceptual

__all__ = ["Measurement", "Objective", "Optimisation", "PaperObjective", "Schedule"]


@dataclass(frozen=True)
class Schedule:
    """Ramps over `steps` steps; all lengths are shares of them.

    Args:
        steps: Number of steps.
        peak_rate: Learning rate between the ramps.
        ramp_up: Share over which the rate rises linearly from zero (50 of 1000).
        ramp_down: Share over which it falls to zero along a cosine (250 of 1000).
        latent_noise: Deviation of the noise on w at the start, in deviations of w (0.05).
        latent_noise_length: Share after which the noise has gone (750 of 1000).
    """

    steps: int
    peak_rate: float = 0.1
    ramp_up: float = 0.05
    ramp_down: float = 0.25
    latent_noise: float = 0.05
    latent_noise_length: float = 0.75

    def learning_rate(self, step: int) -> float:
        """Return Adam's rate at `step`, counted from 0."""
        t = step / self.steps
        ramp = min(1.0, (1.0 - t) / self.ramp_down)
        ramp = 0.5 - 0.5 * math.cos(ramp * math.pi)
        return self.peak_rate * ramp * min(1.0, t / self.ramp_up)

    def latent_noise_deviation(self, step: int) -> float:
        """Return the deviation of the noise added to w at `step`, in deviations of w."""
        t = step / self.steps
        return self.latent_noise * max(0.0, 1.0 - t / self.latent_noise_length) ** 2


# Of w and noise: each image's distance [N], and what is added to it to be minimised [N]. Both differentiable.
Objective = Callable[[Tensor, NoiseMaps], tuple[Tensor, Tensor]]
Measurement = tuple[Tensor, Tensor, Tensor]


class PaperObjective:
    """LPIPS to stored targets plus the weighted noise regulariser.

    Args:
        generator: A frozen network. perceptual: The distance. targets: Images `[N, C, H, W]` to draw again.
        noise_weight: Factor on the regulariser; 0 leaves it out.
        pyramid_scale: See `invert.projection.noise.autocorrelation`.
        dtype: Type of the feature maps while optimising; distances are measured in float32 whatever it is.
    """

    def __init__(
        self,
        generator: Generator,
        perceptual: Perceptual,
        targets: Tensor,
        noise_weight: float,
        pyramid_scale: float,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._generator, self._perceptual, self._dtype = generator, perceptual, dtype
        self._exact_targets = perceptual.prepare(targets)
        self._targets = self._exact_targets
        if dtype != torch.float32:
            self._targets = perceptual.prepare(targets, dtype)
        self._noise_weight, self._pyramid_scale = noise_weight, pyramid_scale

    def draw(self, w: Tensor, noise: NoiseMaps, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return g(w, noise) `[N, C, H, W]`."""
        image: Tensor = self._generator.synthesis(self._generator.broadcast(w), noise.by_layer(), dtype=dtype)
        return image

    def __call__(self, w: Tensor, noise: NoiseMaps) -> tuple[Tensor, Tensor]:
        """Return each image's distance `[N]` and noise term `[N]` at w `[N, w_dim]`."""
        distances, _ = self._perceptual.distance(self.draw(w, noise, self._dtype), self._targets)
        if not self._noise_weight or not noise.stacks:
            return distances, torch.zeros_like(distances)
        return distances, self._noise_weight * noise.autocorrelation(self._pyramid_scale)

    @torch.no_grad()
    def measure(self, w: Tensor, noise: NoiseMaps) -> Measurement:
        """Return the distances `[N]`, their layers' shares `[N, 5]` and the images `[N, C, H, W]`."""
        images = self.draw(w, noise)
        distances, shares = self._perceptual.distance(images, self._exact_targets)
        return distances, shares, images


class Optimisation:
    """Adam on w, and on the noise maps where they are optimised; no image's state touches another's.

    Args:
        objective: What is minimised.
        schedule: Ramps. statistics: Of W; scale the latent noise.
        w: Start `[N, w_dim]`. noise: Start maps, changed in place.
        streams: One random stream per image.
        optimise_noise: Whether the maps are parameters too.
        betas, epsilon: Of Adam.
    """

    def __init__(
        self,
        objective: Objective,
        schedule: Schedule,
        statistics: LatentStatistics,
        w: Tensor,
        noise: NoiseMaps,
        streams: Sequence[torch.Generator],
        *,
        optimise_noise: bool = True,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
    ) -> None:
        self._objective, self._schedule, self._statistics = objective, schedule, statistics
        self.w, self.noise, self._streams = w.detach().clone(), noise, streams
        self._parameters = [self.w, *(noise.parameters() if optimise_noise else [])]
        self._optimise_noise = optimise_noise
        for parameter in self._parameters:
            parameter.requires_grad_(True)
        self._adam = torch.optim.Adam(self._parameters, lr=schedule.peak_rate, betas=betas, eps=epsilon, fused=True)
        self._best_losses = torch.full([len(w)], torch.inf, device=w.device)
        self._best = [parameter.detach().clone() for parameter in self._parameters]
        self.diverged = torch.zeros([len(w)], dtype=torch.bool, device=w.device)

    def step(self, step: int) -> Tensor:
        """Make step number `step`; return each image's distance in it `[N]`, NaN once the image has diverged.

        It is the distance at the w that the step's latent noise perturbed, before the update.
        """
        distances, penalties = self._objective(self._perturbed_w(step), self.noise)
        losses = distances + penalties
        gradients = torch.autograd.grad(losses.sum(), self._parameters)
        losses = losses.detach()
        finite = losses.isfinite()
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            finite &= gradient.flatten(1).sum(dim=1).isfinite()
            parameter.grad = gradient
        self.diverged |= ~finite
        self._keep_best(losses)
        self._adam.param_groups[0]["lr"] = self._schedule.learning_rate(step)
        self._adam.step()
        if self._optimise_noise:
            self.noise.normalise()
        if bool(self.diverged.any()):
            self._restore(self.diverged)
        return torch.where(self.diverged, torch.nan, distances.detach())

    def finish(self) -> None:
        """End the optimisation: w and noise are results from now on."""
        for parameter in self._parameters:
            parameter.requires_grad_(False)

    def _perturbed_w(self, step: int) -> Tensor:
        deviation = self._statistics.deviation * self._schedule.latent_noise_deviation(step)
        if deviation == 0:
            return self.w
        size = self.w.shape[1]
        drawn = torch.stack([torch.randn([size], generator=stream) for stream in self._streams])
        return self.w + deviation * drawn.to(self.w.device)

    @torch.no_grad()
    def _keep_best(self, losses: Tensor) -> None:
        better = (losses < self._best_losses) & ~self.diverged
        self._best_losses = torch.where(better, losses, self._best_losses)
        for kept, parameter in zip(self._best, self._parameters, strict=True):
            kept.copy_(torch.where(_like(better, kept), parameter, kept))

    @torch.no_grad()
    def _restore(self, images: Tensor) -> None:
        for kept, parameter in zip(self._best, self._parameters, strict=True):
            parameter.copy_(torch.where(_like(images, kept), kept, parameter))


def _like(mask: Tensor, tensor: Tensor) -> Tensor:
    return mask.reshape([-1] + [1] * (tensor.ndim - 1))
