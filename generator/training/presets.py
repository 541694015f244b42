"""Named sets of settings, and how long each of them trains. Nothing here imports torch."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from generator.errors import ConfigError
from generator.settings import setting, setting_of
from generator.training.config import TrainConfig

__all__ = ["TRAINING_PRESETS", "Lengths", "TrainingPreset", "automatic_gamma", "parse_setting", "settings_with"]

_KIMG: dict[str, Any] = {"minimum": 0.001, "maximum": 1e9, "metavar": "K", "unset": "the preset's"}


@dataclass(frozen=True)
class Lengths:
    """When a run ends, and how often it reports and saves. A run that is resumed may be given other lengths.

    Raises:
        ConfigError: A length is out of range.
    """

    kimg: float = setting(25_000.0, help="Train until 1000 K images were seen.", option="--kimg", **_KIMG)
    tick_kimg: float = setting(
        4.0,
        help="Thousands of images between two records of the log.",
        option="--tick-kimg",
        group="Computation",
        **_KIMG,
    )
    snapshot_kimg: float = setting(
        200.0,
        help="Thousands of images between two snapshots.",
        option="--snapshot-kimg",
        group="Computation",
        **_KIMG,
    )

    def __post_init__(self) -> None:
        for one in dataclasses.fields(self):
            value = getattr(self, one.name)
            wanted = setting_of(one).wanted(value)
            if wanted is not None:
                raise ConfigError(f"{one.name} is {value!r}, not {wanted}")

    @property
    def images(self) -> int:
        """Number of images after which the run ends."""
        return round(self.kimg * 1000)

    @property
    def tick(self) -> int:
        """Number of images between two records of the log."""
        return round(self.tick_kimg * 1000)

    @property
    def snapshot(self) -> int:
        """Number of images between two snapshots."""
        return round(self.snapshot_kimg * 1000)


@dataclass(frozen=True)
class TrainingPreset:
    """A named set of settings.

    Attributes:
        settings: Values of `TrainConfig` that differ from its defaults.
        lengths: How long a run trains, and how often it reports and saves.
        growth_kimg: Thousands of images of a stage, and of a fade, where the networks are told to grow; None: what
            the settings say.
        augment_below: Data sets of fewer images are trained on with adaptive augmentation, where nothing else is said.
        gamma: What r1_gamma is, where nothing else is said: so many times side^2 / batch; None: what the settings say.
        former: What some of the settings were in earlier versions. A run that was begun so is resumed so.
    """

    settings: Mapping[str, Any]
    lengths: Lengths = Lengths()
    growth_kimg: float | None = None
    augment_below: int = 0
    gamma: float | None = None
    former: Mapping[str, Any] = field(default_factory=dict)


_PAPERS = {"mirror": True, "w_avg_passes": "all"}
"""What the configurations of both papers have in common: their tables are of FFHQ, which is mirrored."""

_STYLEGAN = {
    "generator_architecture": "stylegan",
    "discriminator_architecture": "stylegan",
    "path_length_weight": 0.0,
    "lazy": False,
    "ema_warmup": 0.0,
}
"""What makes a StyleGAN of the defaults: no path length regulariser, and R1 in every step."""

# Learning rates and batches by resolution: the public settings of the papers' configurations for eight GPUs.
_GROWN = {
    **_PAPERS,
    "channel_base": 16384,
    "growing": True,
    "adam_reset": "fade",
    "learning_rate": 0.001,
    "discriminator_learning_rate": 0.001,
    "learning_rate_by_resolution": "128:0.0015,256:0.002,512:0.003,1024:0.003",
    "batch_by_resolution": "4:512,8:256,16:128,32:64,64:32",
}
_REVISED = {
    **_GROWN,
    "generator_architecture": "orig",
    "discriminator_architecture": "orig",
    "path_length_layers": "all",
}

# Karras et al. 2019, table 1, from the last row back to the first: each leaves out what its successor added.
_STYLEGAN_F = {**_STYLEGAN, **_GROWN}
_STYLEGAN_E = {**_STYLEGAN_F, "style_mixing": 0.0}
_STYLEGAN_D = {**_STYLEGAN_E, "use_noise": False}
_STYLEGAN_C = {**_STYLEGAN_D, "synthesis_input": "latent"}
_STYLEGAN_B = {**_STYLEGAN_C, "use_styles": False, "normalisation": "pixel", "mapping_layers": 0}
_STYLEGAN_A = {**_STYLEGAN_B, "blur": False, "growing_start": 4, "loss": "wgan-gp", "r1_gamma": 0.0}

# Karras et al. 2021, appendix G, and the public settings of its configuration T, then R.
_ALIAS_FREE = {
    **_PAPERS,
    "generator_architecture": "stylegan3-t",
    "use_noise": False,
    "mapping_layers": 2,
    "discriminator_mapping_layers": 8,
    "conv_clamp": 256.0,
    "learning_rate": 0.0025,
    "path_length_weight": 0.0,
    "style_mixing": 0.0,
    "ema_warmup": 0.05,
    "w_avg_beta": 0.998,
    "w_avg_passes": "discriminator",
}
_ROTATING = {
    **_ALIAS_FREE,
    "generator_architecture": "stylegan3-r",
    "channel_base": 65536,
    "channel_max": 1024,
    "discriminator_channel_base": 32768,
    "discriminator_channel_max": 512,
    "blur_warmup_sigma": 10.0,
}
_ALIAS_FREE_GAMMA = 1 / 1024
"""The published table is 0.5 at 128 px, 2 at 256, 8 at 512 and 32 at 1024, with batches of 32."""

_FORMER = {"mirror": False, "w_avg_passes": "generator"}
_FORMER_GROWN = {**_FORMER, "adam_reset": "resolution", "batch_by_resolution": "8:256,16:128,32:64,64:32"}
_FORMER_REVISED = {**_FORMER_GROWN, "ema_warmup": 0.05, "path_length_layers": "grown"}

_FEW = 50_000

_SMALL = {
    "z_dim": 128,
    "w_dim": 128,
    "channel_base": 512,
    "channel_max": 128,
    "batch": 16,
    "r1_gamma": 1.0,
    "ema_half_life_kimg": 10.0,
    "ema_warmup": 0.05,
}

TRAINING_PRESETS = {
    # Karras et al. 2020, table 1 and appendix B; gamma 100 belongs to configuration E.
    "stylegan2-f": TrainingPreset(_PAPERS, former={**_FORMER, "ema_warmup": 0.05}),
    "stylegan2-e": TrainingPreset(
        {**_PAPERS, "channel_base": 16384, "r1_gamma": 100.0}, former={**_FORMER, "ema_warmup": 0.05}
    ),
    # Rows A to D of the same table grow: StyleGAN, demodulation, lazy regularisation, path length.
    "stylegan2-a": TrainingPreset(_STYLEGAN_F, former=_FORMER_GROWN),
    "stylegan2-b": TrainingPreset({**_REVISED, "lazy": False, "path_length_weight": 0.0}, former=_FORMER_REVISED),
    "stylegan2-c": TrainingPreset({**_REVISED, "path_length_weight": 0.0}, former=_FORMER_REVISED),
    "stylegan2-d": TrainingPreset(_REVISED, former=_FORMER_REVISED),
    # Karras et al. 2019, row F of table 1 and appendix C, then the rows before it.
    "stylegan": TrainingPreset(_STYLEGAN_F, former=_FORMER_GROWN),
    "stylegan-e": TrainingPreset(_STYLEGAN_E),
    "stylegan-d": TrainingPreset(_STYLEGAN_D),
    "stylegan-c": TrainingPreset(_STYLEGAN_C),
    "stylegan-b": TrainingPreset(_STYLEGAN_B),
    "stylegan-a": TrainingPreset(_STYLEGAN_A, Lengths(12_000.0)),
    "stylegan3-t": TrainingPreset(_ALIAS_FREE, gamma=_ALIAS_FREE_GAMMA),
    "stylegan3-r": TrainingPreset(_ROTATING, gamma=_ALIAS_FREE_GAMMA),
    # What a laptop trains in an hour or two at 32 px; the networks that come with the project.
    "small": TrainingPreset(_SMALL, Lengths(400.0, 2.0, 20.0), growth_kimg=50.0, augment_below=_FEW),
    # The same widths, batch and R1, to set beside it; `growing` is off. R1 comes in every step, as above.
    "stylegan-small": TrainingPreset(
        {**_SMALL, **_STYLEGAN}, Lengths(400.0, 2.0, 20.0), growth_kimg=50.0, augment_below=_FEW
    ),
    # To see that everything runs: seconds.
    "tiny": TrainingPreset(
        {
            "z_dim": 32,
            "w_dim": 32,
            "mapping_layers": 2,
            "channel_base": 256,
            "channel_max": 32,
            "batch": 16,
            "r1_gamma": 1.0,
            "ema_half_life_kimg": 1.0,
            "ema_warmup": 0.05,
        },
        Lengths(10.0, 0.5, 2.0),
        growth_kimg=1.0,
        augment_below=_FEW,
    ),
}


def settings_with(name: str, chosen: Mapping[str, Any], recorded: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the settings of a preset, replaced where a user chose others.

    A batch or a learning rate that was chosen counts at every resolution, so the preset's own ones by resolution give
    way to it; a short preset that is told to grow has stages that it has the time for; WGAN-GP, which has a penalty
    of its own, goes without R1, and the other losses with it.

    Args:
        name: The preset, a key of `TRAINING_PRESETS`.
        chosen: Values of `TrainConfig` by name.
        recorded: Settings of the run that is to be resumed, as its file has them. Where they are those that the preset
            had in earlier versions, these are returned.
    """
    preset = TRAINING_PRESETS[name]
    if recorded is not None and preset.former:
        before = _adapted(preset, {**preset.settings, **preset.former}, chosen)
        if all(recorded.get(key, _DEFAULTS[key]) == before[key] for key in preset.former):
            return before
    return _adapted(preset, dict(preset.settings), chosen)


_DEFAULTS = {one.name: one.default for one in dataclasses.fields(TrainConfig)}


def _adapted(preset: TrainingPreset, settings: dict[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    if chosen.get("growing") and preset.growth_kimg is not None:
        settings |= {"growing_stage_kimg": preset.growth_kimg, "growing_fade_kimg": preset.growth_kimg}
    losses = (chosen.get("loss"), settings.get("loss", _DEFAULTS["loss"]))
    if losses[0] is not None and losses[0] != losses[1] and "wgan-gp" in losses:
        settings["r1_gamma"] = 0.0 if losses[0] == "wgan-gp" else _DEFAULTS["r1_gamma"]
    if "batch" in chosen:
        settings["batch_by_resolution"] = ""
    if "learning_rate" in chosen or "discriminator_learning_rate" in chosen:
        settings["learning_rate_by_resolution"] = ""
    return settings | dict(chosen)


def parse_setting(name: str, text: str) -> Any:
    """Return the value of a setting that was written as text, in the setting's type.

    Args:
        name: Name of a field of `TrainConfig`.
        text: Its value as a user writes it; true or false for a flag.

    Raises:
        ConfigError: There is no such setting, or the text is not of its type.
    """
    kinds: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(TrainConfig)}
    if name not in kinds:
        raise ConfigError(f"there is no setting {name!r}; there are {', '.join(kinds)}")
    kind = kinds[name]
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return kind(text)
    except (ValueError, KeyError):
        names = {bool: "true or false", int: "an integer", float: "a number"}
        raise ConfigError(f"{text!r} is not {names.get(kind, 'a word')}") from None


def automatic_gamma(resolution: int, batch: int, factor: float = 0.0002) -> float:
    """Return a weight of R1 that suits images of a side and a batch: factor side^2 / batch.

    Args:
        resolution: Side of the images in pixels.
        batch: Images per step.
        factor: What it is for images of one pixel, one per step.

    Reference: Karras et al. 2020, Training Generative Adversarial Networks with Limited Data, the public code's `auto`.
    """
    return factor * resolution**2 / batch
