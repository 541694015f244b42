"""The named methods of projection: their constants, and the settings that have another default with them."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["EXACT_PRESETS", "PRESETS", "PRESET_SETTINGS", "Constants", "ExactConstants", "Preset", "recorded_preset"]


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
        recorded: Its name in method records, where it is an earlier version of another preset; empty for its own.
    """

    constants: Constants | ExactConstants = Constants()
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    recorded: str = ""


_OF_EXACT = {"steps": 14, "noise": "fixed", "restarts": 2}

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
    "exact": Preset(ExactConstants(), _OF_EXACT),
    # Calibrations of before were measured by it, and their verdicts are.
    "exact-3": Preset(ExactConstants(version=3), _OF_EXACT, recorded="exact"),
}

EXACT_PRESETS = tuple(name for name, preset in PRESETS.items() if isinstance(preset.constants, ExactConstants))
"""The presets that explain images to the last level."""

PRESET_SETTINGS = tuple(dict.fromkeys(name for preset in PRESETS.values() for name in preset.defaults))
"""The settings whose default depends on the preset."""


def recorded_preset(record: Mapping[str, Any]) -> Any:
    """Return the name of the preset that a method record is of, by its constants; else the name in the record.

    Args:
        record: See `invert.projection.records.method_record`.

    Raises:
        KeyError: It is no such record.
    """
    recorded = record["preset"], record.get("constants")
    for name, preset in PRESETS.items():
        if (preset.recorded or name, dataclasses.asdict(preset.constants)) == recorded:
            return name
    return record["preset"]
