"""How a batch of images is optimised: an optimiser is a class, and `optimiser_of` says which one a preset has.

Reference: Karras et al. 2020, appendix D.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from invert.projection.motion import Motions
from invert.projection.noise import NoiseMaps
from invert.projection.objective import Objective
from invert.projection.presets import Constants
from invert.projection.space import Space

__all__ = ["Adam", "Optimisation", "Optimiser", "Problem", "Recorder", "Schedule", "optimiser_of"]

Recorder = Callable[[Callable[[], Tensor]], Callable[[], Tensor]]
"""Takes work on tensors that stay where they are; returns what does the same work again."""

_SURELY_FINITE = 1e25  # a sum of numbers below it is finite in float32, of as many as there are


@dataclass(frozen=True)
class Schedule:
    """Ramps over `steps` steps; all lengths are shares of them.

    Args:
        steps: Number of steps.
        peak_rate: Learning rate between the ramps.
        ramp_up: Share over which the rate rises linearly from zero (50 of 1000).
        ramp_down: Share over which it falls to zero along a cosine (250 of 1000).
        latent_noise: Deviation of the noise on w at the start, in deviations of W (0.05).
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
        """Return the deviation of the noise added to w at `step`, in deviations of W."""
        t = step / self.steps
        return self.latent_noise * max(0.0, 1.0 - t / self.latent_noise_length) ** 2


@dataclass(frozen=True, eq=False)
class Problem:
    """What is to be minimised for N images, and from where.

    Attributes:
        objective: Distance and penalty of each image.
        space: Where latents are searched.
        start: w `[N, 1, w_dim]`.
        noise: Maps of the N images, changed in place.
        streams: One random stream per image.
        optimise_noise: Whether the maps are parameters too.
        motions: Shift and rotation of each image, changed in place; None: they are at rest.
    """

    objective: Objective
    space: Space
    start: Tensor
    noise: NoiseMaps
    streams: Sequence[torch.Generator]
    optimise_noise: bool = True
    motions: Motions | None = None


class Optimisation(ABC):
    """One optimisation of N images; no image's state touches another's.

    An image whose loss or gradient is not finite has diverged: it goes back to its best state and stays there.

    Args:
        problem: What is minimised.
        record: Makes of a step's work, which takes nothing from outside, what does it again whenever it is called,
            such as `StepGraph`. None: each step is worked out anew.

    Attributes:
        diverged: `[N]`, bool.
    """

    def __init__(self, problem: Problem, record: Recorder | None = None) -> None:
        self._problem = problem
        self._latents = problem.space.start(problem.start)
        self._parameters = [*self._latents, *(problem.noise.parameters() if problem.optimise_noise else [])]
        if problem.motions is not None:
            self._parameters += problem.motions.parameters()
        for parameter in self._parameters:
            parameter.requires_grad_(True)
        images, device = len(problem.start), problem.start.device
        self._best_losses = torch.full([images], torch.inf, device=device)
        self._best = [parameter.detach().clone() for parameter in self._parameters]
        self.diverged = torch.zeros([images], dtype=torch.bool, device=device)
        # Elsewhere, or in a step that is recorded, asking for a number would wait for the device.
        self._asks = device.type == "cpu" and record is None
        self._all_well = self._asks  # whether no image is known to have diverged

    @abstractmethod
    def step(self, step: int) -> Tensor:
        """Make step number `step`, counted from 0.

        Returns:
            Each image's distance in it `[N]`, NaN once the image has diverged.
        """

    @property
    def w(self) -> Tensor:
        """The latents `[N, 1 or styles, w_dim]` as they are now."""
        return self._problem.space.w(self._latents)

    @property
    def styles(self) -> Tensor:
        """The styles `[N, styles, w_dim]` of the latents as they are now."""
        return self._problem.space.styles(self.w)

    def finish(self) -> None:
        """End the optimisation: latents and noise are results from now on."""
        for parameter in self._parameters:
            parameter.requires_grad_(False)

    def _evaluate(self, w: Tensor) -> Tensor:
        """Set the gradients at w, note who has diverged and who has never been better; return the distances `[N]`."""
        distances, penalties = self._problem.objective(self._problem.space.styles(w), self._problem.noise)
        losses = distances + penalties
        pull = self._problem.space.pull(w)
        if pull is not None:
            losses = losses + pull
        # Gradients of the losses themselves, times ones, would be fewer calls, but torch imports sympy for them.
        self._gradients = torch.autograd.grad(losses.sum(), self._parameters)
        losses = losses.detach()
        self._note_divergence(losses)
        self._keep_best(losses)
        return distances.detach()

    def _note_divergence(self, losses: Tensor) -> None:
        """Note whose loss or gradient is not finite."""
        if self._all_well:
            largest = torch.stack(torch._foreach_norm([losses, *self._gradients], torch.inf)).max()
            if float(largest) < _SURELY_FINITE:
                return
        # A sum is finite only where every number is.
        sums = torch.stack([losses, *(gradient.flatten(1).sum(dim=1) for gradient in self._gradients)])
        self.diverged |= ~sums.isfinite().all(dim=0)
        self._all_well = self._asks and not bool(self.diverged.any())

    def _end_step(self, distances: Tensor) -> Tensor:
        """Put right what an update left: noise maps are noise again, diverged images are at their best state."""
        if self._problem.optimise_noise:
            self._problem.noise.normalise()
        if self._all_well:
            return distances
        if not self._asks or bool(self.diverged.any()):
            self._restore(self.diverged)
        return torch.where(self.diverged, torch.nan, distances)

    @torch.no_grad()
    def _keep_best(self, losses: Tensor) -> None:
        better = losses < self._best_losses
        if not self._all_well:
            better &= ~self.diverged
        if self._asks:
            each: list[bool] = better.tolist()
            if not any(each):
                return
            if all(each):
                self._best_losses.copy_(losses)
                torch._foreach_copy_(self._best, self._parameters)
                return
        torch.where(better, losses, self._best_losses, out=self._best_losses)
        for kept, parameter in zip(self._best, self._parameters, strict=True):
            torch.where(_like(better, kept), parameter, kept, out=kept)

    @torch.no_grad()
    def _restore(self, images: Tensor) -> None:
        for kept, parameter in zip(self._best, self._parameters, strict=True):
            parameter.copy_(torch.where(_like(images, kept), kept, parameter))


def _like(mask: Tensor, tensor: Tensor) -> Tensor:
    return mask.reshape([-1] + [1] * (tensor.ndim - 1))


class Adam(Optimisation):
    """Adam with the paper's ramps, and noise on w that fades.

    Args:
        problem: What is minimised.
        schedule: Ramps.
        betas: Decay rates of Adam's two moments.
        epsilon: Added to the root of the second moment.
        record: See `Optimisation`.

    Reference: Karras et al. 2020, appendix D; Kingma and Ba 2015.
    """

    def __init__(
        self,
        problem: Problem,
        schedule: Schedule,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        record: Recorder | None = None,
    ) -> None:
        super().__init__(problem, record)
        self._schedule = schedule
        self._betas, self._epsilon = betas, epsilon
        self._means = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._squares = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._counts = [torch.zeros([], device=parameter.device) for parameter in self._parameters]

        self._again: Callable[[], Tensor] | None = None
        # What changes from step to step lies where a recorded step finds it.
        noise, rate = torch.zeros_like(problem.space.w(self._latents).detach()), self._best_losses.new_zeros([])
        self._noise, self._rate = noise, rate
        if record is not None:
            self._again = record(lambda: self._work(noise, rate))

    def step(self, step: int) -> Tensor:
        """Make step number `step`; the distances are those at the w with this step's noise, before the update."""
        deviations, rate = self._schedule.latent_noise_deviation(step), self._schedule.learning_rate(step)
        noise = self._problem.space.draw(self._latents, deviations, self._problem.streams)
        if self._again is None:
            return self._work(noise, rate)
        self._noise.copy_(torch.zeros([]) if noise is None else noise)
        self._rate.fill_(rate)
        return self._again()

    def _work(self, noise: Tensor | None, rate: float | Tensor) -> Tensor:
        """Do what a step does once its noise and its rate are known."""
        w = self._problem.space.w(self._latents)
        distances = self._evaluate(w if noise is None else w + noise)
        self._update(rate)
        return self._end_step(distances)

    @torch.no_grad()
    def _update(self, rate: float | Tensor) -> None:
        # Not the class of torch.optim: it imports the compiler, which takes longer than a short projection.
        torch._foreach_add_(self._counts, 1)
        torch._fused_adam_(
            self._parameters,
            list(self._gradients),
            self._means,
            self._squares,
            [],
            self._counts,
            lr=rate,
            beta1=self._betas[0],
            beta2=self._betas[1],
            weight_decay=0.0,
            eps=self._epsilon,
            amsgrad=False,
            maximize=False,
        )


Optimiser = Callable[[Problem], Optimisation]
"""Begins an optimisation."""


def optimiser_of(preset: Constants, steps: int, record: Recorder | None = None) -> Optimiser:
    """Return what optimises with a preset's constants.

    Args:
        preset: The constants.
        steps: Number of steps of an optimisation, from 0.
        record: See `Optimisation`.
    """
    schedule = Schedule(
        max(steps, 1),
        preset.peak_rate,
        preset.ramp_up,
        preset.ramp_down,
        preset.latent_noise,
        preset.latent_noise_length,
    )

    def begin(problem: Problem) -> Optimisation:
        betas = (preset.adam_beta1, preset.adam_beta2)
        return Adam(problem, schedule, betas=betas, epsilon=preset.adam_epsilon, record=record)

    return begin
