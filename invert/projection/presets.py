"""The named methods of projection: their constants, and the settings that have another default with them."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["PRESETS", "PRESET_SETTINGS", "Constants", "ExactConstants", "Preset"]


@dataclass(frozen=True)
class Constants:
    """The constants of a projection method, which no option changes; all of them are in the method record.

    Reference: Karras et al. 2020, appendix D; the public code differs from it in `pyramid_scale` alone.
    """

    latent_samples: int = 10_000
    latent_seed: int = 123
    start: str = "centre"
    peak_rate: float = 0.1
    ramp_up: float = 0.05
    ramp_down: float = 0.25
    latent_noise: float = 0.05
    latent_noise_length: float = 0.75
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    pyramid_scale: float = 2.0


@dataclass(frozen=True)
class ExactConstants:
    """The constants of preset exact, likewise."""

    solver: str = "gauss-newton"
    version: int = 4
    start: str = "bank"


@dataclass(frozen=True)
class Preset:
    """A named projection method.

    Args:
        constants: What no option changes.
        defaults: The settings of `ProjectConfig` that have another default with this preset.
    """

    constants: Constants | ExactConstants = Constants()
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)


PRESETS = {
    "paper": Preset(),
    "official": Preset(Constants(pyramid_scale=1.0)),
    # Free noise maps help foreign images more than own ones: see bench/attribution.md.
    "verdict": Preset(
        Constants(start="bank", peak_rate=0.05, latent_noise=0.01),
        {"steps": 50, "noise": "fixed"},
    ),
    # Adam's first steps are as long as its rate whatever the gradients are: at once at full rate, they would leave the
    # place that the encoder tells.
    "fast": Preset(
        Constants(start="encoder", peak_rate=0.2, ramp_up=0.4, ramp_down=0.4, latent_noise=0.0),
        {"steps": 80},
    ),
    "exact": Preset(ExactConstants(), {"steps": 14, "noise": "fixed", "restarts": 2}),
}

PRESET_SETTINGS = tuple(dict.fromkeys(name for preset in PRESETS.values() for name in preset.defaults))
"""The settings whose default depends on the preset."""
