"""Settings of a training run: one flat frozen dataclass, so that each can be named on a command line."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from generator.config import ARCHITECTURES, DiscriminatorConfig, GeneratorConfig, MappingConfig, SynthesisConfig
from generator.errors import ConfigError

__all__ = ["PRESETS", "SPECTRAL_NORMS", "TrainConfig", "parse_setting"]

SPECTRAL_NORMS = ("none", "d", "g", "gd")


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained. Resuming a run needs the same values; defaults are the paper's configuration F.

    Attributes:
        resolution: Side of the pictures. channels: 1 or 3. classes: Labels of a conditional network, 0 for none.
        z_dim, w_dim, mapping_layers, mapping_lr_multiplier: Of the mapping network.
        channel_base, channel_max: Width of the generator: min(channel_base // r, channel_max) channels at r px.
        discriminator_channel_base, discriminator_channel_max: The same of the discriminator; 0: as the generator.
        generator_architecture, discriminator_architecture: "skip", "resnet" or "orig" (figure 7).
        demodulate, use_noise: Of the generator's layers.
        spectral_norm: Networks whose weights are spectrally normalised: "none", "d", "g" or "gd".
        mbstd_group_size, mbstd_channels: Of the minibatch standard deviation; groups of the whole batch.
        conv_clamp: Limit on the feature maps' absolute values; 0 for none.
        batch: Pictures per step, over all processes and micro-batches.
        learning_rate, discriminator_learning_rate, adam_beta1, adam_beta2, adam_epsilon: Of Adam.
        r1_gamma, r1_interval: Weight of R1, and every how many steps it is applied.
        path_length_weight, path_length_interval, path_length_decay: Of the path length regulariser; `decay` is how
            much of the average length `a` is kept. A weight of 0 turns it off.
        lazy: Apply the regularisers at their intervals; False: at every step, in the same pass as the loss.
        style_mixing: Probability of two latents for one picture.
        ema_half_life_kimg, ema_warmup: Of the averaged generator; warm-up as a share of the pictures seen, 0 for none.
        w_avg_beta: Of the running mean w.
        mirror: Show each picture mirrored half of the time.
        seed: Of everything random.
    """

    resolution: int = 1024
    channels: int = 3
    classes: int = 0
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    mapping_lr_multiplier: float = 0.01
    channel_base: int = 32768
    channel_max: int = 512
    discriminator_channel_base: int = 0
    discriminator_channel_max: int = 0
    generator_architecture: str = "skip"
    discriminator_architecture: str = "resnet"
    demodulate: bool = True
    use_noise: bool = True
    spectral_norm: str = "none"
    mbstd_group_size: int = 4
    mbstd_channels: int = 1
    conv_clamp: float = 0.0
    batch: int = 32
    learning_rate: float = 0.002
    discriminator_learning_rate: float = 0.002
    adam_beta1: float = 0.0
    adam_beta2: float = 0.99
    adam_epsilon: float = 1e-8
    r1_gamma: float = 10.0
    r1_interval: int = 16
    path_length_weight: float = 2.0
    path_length_interval: int = 8
    path_length_decay: float = 0.99
    lazy: bool = True
    style_mixing: float = 0.9
    ema_half_life_kimg: float = 10.0
    ema_warmup: float = 0.05
    w_avg_beta: float = 0.995
    mirror: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            self._check_type(field.name, getattr(self, field.name), field.type)
        for name in ("batch", "r1_interval", "path_length_interval", "mbstd_group_size"):
            self._require(getattr(self, name) >= 1, name, "at least 1")
        for name in ("classes", "seed", "r1_gamma", "path_length_weight", "conv_clamp", "ema_warmup", "adam_epsilon"):
            self._require(getattr(self, name) >= 0, name, "0 or more")
        for name in ("learning_rate", "discriminator_learning_rate", "mapping_lr_multiplier", "ema_half_life_kimg"):
            self._require(getattr(self, name) > 0, name, "more than 0")
        for name in ("adam_beta1", "adam_beta2", "path_length_decay", "w_avg_beta"):
            self._require(0 <= getattr(self, name) < 1, name, "in [0, 1)")
        self._require(0 <= self.style_mixing <= 1, "style_mixing", "in [0, 1]")
        self._require(self.spectral_norm in SPECTRAL_NORMS, "spectral_norm", f"one of {', '.join(SPECTRAL_NORMS)}")
        self._require(self.channels in (1, 3), "channels", "1 or 3")
        for name in ("generator_architecture", "discriminator_architecture"):
            self._require(getattr(self, name) in ARCHITECTURES, name, f"one of {', '.join(ARCHITECTURES)}")
        group = min(self.mbstd_group_size, self.batch)
        if self.mbstd_channels and self.batch % group:
            reason = f"is not a whole number of minibatch-deviation groups of {group} (mbstd_group_size)"
            raise ConfigError(f"a batch of {self.batch} {reason}")
        # the networks' own settings are checked by their own classes, here and not when training has begun
        self.generator_config()
        width = self.discriminator_config().widths[4]
        if self.mbstd_channels and width % self.mbstd_channels:
            raise ConfigError(f"mbstd_channels is {self.mbstd_channels}, not a divisor of the {width} channels at 4 px")

    @staticmethod
    def _check_type(name: str, value: object, kind: Any) -> None:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        good = number and math.isfinite(value) if kind is float else type(value) is kind  # type: ignore[arg-type]
        if not good:
            raise ConfigError(f"{name} is {value!r}, not {'a finite number' if kind is float else kind.__name__}")

    def _require(self, condition: bool, name: str, wanted: str) -> None:
        if not condition:
            raise ConfigError(f"{name} is {getattr(self, name)!r}, not {wanted}")

    def generator_config(self) -> GeneratorConfig:
        """Return the settings of the generator."""
        mapping = MappingConfig(
            z_dim=self.z_dim,
            c_dim=self.classes,
            w_dim=self.w_dim,
            num_layers=self.mapping_layers,
            lr_multiplier=self.mapping_lr_multiplier,
            w_avg_beta=self.w_avg_beta,
        )
        synthesis = SynthesisConfig(
            w_dim=self.w_dim,
            img_resolution=self.resolution,
            img_channels=self.channels,
            channel_base=self.channel_base,
            channel_max=self.channel_max,
            architecture=self.generator_architecture,
            use_noise=self.use_noise,
            demodulate=self.demodulate,
            conv_clamp=self.conv_clamp or None,
        )
        return GeneratorConfig(mapping, synthesis)

    def discriminator_config(self) -> DiscriminatorConfig:
        """Return the settings of the discriminator."""
        return DiscriminatorConfig(
            c_dim=self.classes,
            img_resolution=self.resolution,
            img_channels=self.channels,
            channel_base=self.discriminator_channel_base or self.channel_base,
            channel_max=self.discriminator_channel_max or self.channel_max,
            architecture=self.discriminator_architecture,
            conv_clamp=self.conv_clamp or None,
            mbstd_group_size=self.mbstd_group_size,
            mbstd_channels=self.mbstd_channels,
            mapping_layers=self.mapping_layers,
            mapping_lr_multiplier=self.mapping_lr_multiplier,
        )


PRESETS: dict[str, dict[str, Any]] = {
    # Karras et al. 2020, table 1 and appendix B; gamma 100 belongs to configurations A to E.
    "stylegan2-f": {},
    "stylegan2-e": {"channel_base": 16384, "r1_gamma": 100.0},
    # What a laptop trains in an hour or two at 32 px; the networks that come with the project.
    "small": {
        "z_dim": 128,
        "w_dim": 128,
        "channel_base": 512,
        "channel_max": 128,
        "batch": 16,
        "r1_gamma": 1.0,
        "ema_half_life_kimg": 10.0,
    },
    # To see that everything runs: seconds.
    "tiny": {
        "z_dim": 32,
        "w_dim": 32,
        "mapping_layers": 2,
        "channel_base": 256,
        "channel_max": 32,
        "batch": 16,
        "r1_gamma": 1.0,
        "ema_half_life_kimg": 1.0,
    },
}
"""Named sets of settings, as what they change."""


def parse_setting(name: str, text: str) -> Any:
    """Return the value of a setting that was written as text, in the setting's type.

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
