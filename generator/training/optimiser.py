"""Adam as lazy regularisation needs it, and its state by parameter name.

Reference: Karras et al. 2020, appendix B ("lazy regularization").
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from generator.training.config import TrainConfig

__all__ = ["adam", "adam_moments", "adam_state", "ema_beta", "load_adam_state", "set_learning_rate", "update_ema"]


def adam(network: nn.Module, config: TrainConfig, learning_rate: float, interval: int | None) -> torch.optim.Adam:
    """Return the optimiser of a network.

    Every k steps the regulariser takes a step of its own with the same moments. So that the two together move the
    weights as one combined step per minibatch would, c = k / (k + 1) scales the rate and the decays' exponents.

    Args:
        network: The network whose parameters it moves.
        config: Settings of the run, with the betas and epsilon before scaling.
        learning_rate: Learning rate before scaling.
        interval: The k above; None: there are no separate regularisation steps, c = 1.
    """
    c = _scale(interval)
    return torch.optim.Adam(
        network.parameters(),
        lr=learning_rate * c,
        betas=(config.adam_beta1**c, config.adam_beta2**c),
        eps=config.adam_epsilon,
        fused=True,
    )


def set_learning_rate(optimiser: torch.optim.Adam, learning_rate: float, interval: int | None) -> None:
    """Change the learning rate.

    Args:
        optimiser: What `adam` returned.
        learning_rate: Learning rate before scaling.
        interval: Steps between two regularisation steps, as for `adam`.
    """
    for group in optimiser.param_groups:
        group["lr"] = learning_rate * _scale(interval)


def _scale(interval: int | None) -> float:
    return 1.0 if interval is None else interval / (interval + 1)


def adam_state(network: nn.Module, optimiser: torch.optim.Adam) -> dict[str, Tensor]:
    """Return the moments and step counts as `PARAMETER:KEY`; a parameter that had no gradient yet has none."""
    state = {}
    for name, parameter in network.named_parameters():
        for key, value in optimiser.state[parameter].items() if parameter in optimiser.state else ():
            state[f"{name}:{key}"] = value
    return state


def adam_moments(network: nn.Module) -> dict[str, dict[str, tuple[torch.Size, torch.dtype]]]:
    """Return shape and type of what `adam_state` gives of each parameter that has had a gradient, by its name."""
    found = {}
    for name, parameter in network.named_parameters():
        like = (parameter.shape, parameter.dtype)
        kinds = {"step": (torch.Size(), torch.float32), "exp_avg": like, "exp_avg_sq": like}
        found[name] = {f"{name}:{key}": kind for key, kind in kinds.items()}
    return found


def load_adam_state(network: nn.Module, optimiser: torch.optim.Adam, state: dict[str, Tensor]) -> None:
    """Set what `adam_state` returned.

    Args:
        network: The network.
        optimiser: Its optimiser.
        state: Moments and step counts by name, compared with `adam_moments`.
    """
    own = dict(network.named_parameters())
    optimiser.state.clear()
    for name, value in state.items():
        parameter, _, key = name.rpartition(":")
        # the moments lie in memory as the parameter does: so the next step reads the same bits the same way
        stored = value.clone() if key == "step" else torch.empty_like(own[parameter])
        optimiser.state[own[parameter]][key] = stored.copy_(value)


def ema_beta(half_life: float, batch: int, images: int, warmup: float | None) -> float:
    """Return how much of the average is kept at one step.

    Args:
        half_life: Images after which what was in the average counts half.
        batch: Images in this step.
        images: Images seen so far, this step included.
        warmup: The half-life is at most this share of `images`, so that the random start is soon forgotten; None: no
            warm-up.

    Returns:
        The share that is kept, in [0, 1).
    """
    if warmup is not None:
        half_life = min(half_life, images * warmup)
    return float(0.5 ** (batch / max(half_life, 1e-8)))


@torch.no_grad()
def update_ema(average: nn.Module, weights: Mapping[str, Tensor], buffers: Mapping[str, Tensor], beta: float) -> None:
    """Move a running average of a network.

    Args:
        average: The network that holds the average.
        weights: Parameters by name; those of `average` move towards them by 1 - beta.
        buffers: Buffers by name, which are copied.
        beta: How much of the average is kept, in [0, 1].
    """
    own = dict(average.named_parameters())
    torch._foreach_lerp_([own[name] for name in weights], list(weights.values()), 1 - beta)
    for name, buffer in average.named_buffers():
        if name in buffers:
            buffer.copy_(buffers[name])
