"""Which runs can have feature maps of half the precision. Nothing here imports torch."""

from typing import Any

import generator.stylegan2 as stylegan2
from generator.errors import ConfigError

__all__ = ["check_precision"]


def check_precision(config: Any) -> None:
    """Check that the networks and losses of a `TrainConfig` can do what its `precision` says.

    Raises:
        ConfigError: They cannot.
    """
    if config.precision == "float32":
        return
    reason = None
    if config.generator_architecture not in stylegan2.ARCHITECTURES:
        reason = f"generators of architecture {config.generator_architecture!r} are trained in float32 alone"
    elif config.discriminator_architecture not in stylegan2.DISCRIMINATORS:
        reason = f"discriminators of architecture {config.discriminator_architecture!r} are trained in float32 alone"
    elif config.loss == "wgan-gp":
        reason = "WGAN-GP's gradient penalty, which needs float32, is in every step of its critic"
    elif not config.lazy and (config.r1_gamma or config.path_length_weight):
        reason = "without lazy regularisation every pass has a regulariser in it, which needs float32"
    if reason is not None:
        raise ConfigError(f"precision is {config.precision!r}, but {reason}: take float32")
