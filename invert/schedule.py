"""How the learning rate and the latent noise change over a projection: pure functions of the step.

Reference: Karras et al. 2020, appendix D.
"""

import math
from dataclasses import dataclass

__all__ = ["Schedule"]


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
