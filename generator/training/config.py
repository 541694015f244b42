"""Settings of a training run: one flat frozen dataclass, so that each can be named on a command line."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Final

from generator.config import DiscriminatorSettings, GeneratorConfig, SynthesisSettings
from generator.errors import ConfigError
from generator.settings import setting
from generator.stylegan.config import StyleGANDiscriminatorConfig, StyleGANSynthesisConfig
from generator.stylegan2.config import ARCHITECTURES, DiscriminatorConfig, MappingConfig, SynthesisConfig
from generator.training.growth import GrowthSchedule, parse_by_resolution

__all__ = [
    "LOSSES",
    "NETWORK_ARCHITECTURES",
    "SPECTRAL_NORMS",
    "STYLEGAN",
    "TrainConfig",
    "discriminator_config",
    "generator_config",
    "parse_setting",
]

STYLEGAN: Final = "stylegan"
_BLUR = (1.0, 2.0, 1.0)
_NO_BLUR = (1.0,)

# What one family has and the other has not, with the value that leaves it alone.
_ONLY_STYLEGAN2: dict[str, object] = {"demodulate": True, "conv_clamp": 0.0}
_ONLY_STYLEGAN: dict[str, object] = {"synthesis_input": "constant", "use_styles": True, "normalisation": "instance"}


def generator_config(config: "TrainConfig") -> GeneratorConfig:
    """Return the settings of the generator.

    Raises:
        ConfigError: They do not fit together.
    """
    stylegan = config.generator_architecture == STYLEGAN
    _refuse(config, _ONLY_STYLEGAN2 if stylegan else _ONLY_STYLEGAN, config.generator_architecture)
    if stylegan and "g" in config.spectral_norm:
        raise ConfigError(f"spectral_norm is {config.spectral_norm!r}, which a 'stylegan' generator does not have")
    mapping = MappingConfig(
        z_dim=config.z_dim,
        c_dim=config.classes,
        w_dim=config.w_dim,
        num_layers=config.mapping_layers,
        label_mode="concat" if stylegan else "embed",
        lr_multiplier=config.mapping_lr_multiplier,
        w_avg_beta=config.w_avg_beta,
    )
    width = config.z_dim * (2 if config.classes else 1) if stylegan else config.z_dim
    if not config.mapping_layers and width != config.w_dim:
        raise ConfigError(f"a mapping network without layers needs w_dim {width}, not {config.w_dim}")
    return GeneratorConfig(mapping, _synthesis_config(config))


def _synthesis_config(config: "TrainConfig") -> SynthesisSettings:
    if config.generator_architecture == STYLEGAN:
        return StyleGANSynthesisConfig(
            w_dim=config.w_dim,
            img_resolution=config.resolution,
            img_channels=config.channels,
            channel_base=config.channel_base,
            channel_max=config.channel_max,
            blur_filter=_BLUR if config.blur else _NO_BLUR,
            input=config.synthesis_input,
            use_styles=config.use_styles,
            use_noise=config.use_noise,
            normalisation=config.normalisation,
            growing=config.growing,
        )
    return SynthesisConfig(
        w_dim=config.w_dim,
        img_resolution=config.resolution,
        img_channels=config.channels,
        channel_base=config.channel_base,
        channel_max=config.channel_max,
        architecture=config.generator_architecture,
        use_noise=config.use_noise,
        demodulate=config.demodulate,
        conv_clamp=config.conv_clamp or None,
        growing=config.growing,
    )


def discriminator_config(config: "TrainConfig") -> DiscriminatorSettings:
    """Return the settings of the discriminator.

    Raises:
        ConfigError: They do not fit together.
    """
    base = config.discriminator_channel_base or config.channel_base
    limit = config.discriminator_channel_max or config.channel_max
    if config.discriminator_architecture == STYLEGAN:
        return StyleGANDiscriminatorConfig(
            c_dim=config.classes,
            img_resolution=config.resolution,
            img_channels=config.channels,
            channel_base=base,
            channel_max=limit,
            blur_filter=_BLUR if config.blur else _NO_BLUR,
            mbstd_group_size=config.mbstd_group_size,
            mbstd_channels=config.mbstd_channels,
            growing=config.growing,
        )
    return DiscriminatorConfig(
        c_dim=config.classes,
        img_resolution=config.resolution,
        img_channels=config.channels,
        channel_base=base,
        channel_max=limit,
        architecture=config.discriminator_architecture,
        conv_clamp=config.conv_clamp or None,
        mbstd_group_size=config.mbstd_group_size,
        mbstd_channels=config.mbstd_channels,
        mapping_layers=config.mapping_layers,
        mapping_lr_multiplier=config.mapping_lr_multiplier,
        growing=config.growing,
    )


def _refuse(config: "TrainConfig", settings: dict[str, object], architecture: str) -> None:
    for name, neutral in settings.items():
        if getattr(config, name) != neutral:
            raise ConfigError(f"{name} is {getattr(config, name)!r}, which a {architecture!r} generator does not have")


SPECTRAL_NORMS = ("none", "d", "g", "gd")
NETWORK_ARCHITECTURES = (*ARCHITECTURES, STYLEGAN)
LOSSES = ("logistic", "wgan-gp")


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained. Resuming a run needs the same values; defaults are StyleGAN2's configuration F.

    Attributes:
        resolution: Side of the images. channels: 1 or 3. classes: Labels of a conditional network, 0 for none.
        z_dim, w_dim, mapping_layers, mapping_lr_multiplier: Of the mapping network.
        channel_base, channel_max: Width of the generator: min(channel_base // r, channel_max) channels at r px.
        discriminator_channel_base, discriminator_channel_max: The same of the discriminator; 0: as the generator.
        generator_architecture, discriminator_architecture: "skip", "resnet" or "orig" (StyleGAN2's figure 7), or
            "stylegan".
        demodulate: Of StyleGAN2's layers. use_noise: Whether layers have noise inputs.
        spectral_norm: StyleGAN2 networks whose weights are spectrally normalised: "none", "d", "g" or "gd".
        mbstd_group_size, mbstd_channels: Of the minibatch standard deviation; groups of the whole batch.
        conv_clamp: Limit on the absolute values of StyleGAN2's feature maps; 0 for none.
        batch: Images per step, over all processes and micro-batches.
        learning_rate, discriminator_learning_rate, adam_beta1, adam_beta2, adam_epsilon: Of Adam.
        r1_gamma, r1_interval: Weight of R1, and every how many steps it is applied. It belongs to the logistic loss.
        path_length_weight, path_length_interval, path_length_decay: Of the path length regulariser; `decay` is how
            much of the average length `a` is kept. A weight of 0 turns it off.
        lazy: Apply the regularisers at their intervals; False: at every step, in the same pass as the loss.
        style_mixing: Probability of two latents for one image.
        ema_half_life_kimg, ema_warmup: Of the averaged generator; warm-up as a share of the images seen, 0 for none.
        w_avg_beta: Of the running mean w.
        mirror: Show each image mirrored half of the time.
        seed: Of everything random.
        loss: "logistic" (non-saturating) or "wgan-gp".
        gradient_penalty, drift: Weights of WGAN-GP's penalty and of its drift term.
        synthesis_input: Of a StyleGAN generator: "constant", or "latent" (the traditional input).
        use_styles, normalisation, blur: Of a StyleGAN generator, see `StyleGANSynthesisConfig`; `blur` of its
            discriminator too.
        growing: Grow the networks; "orig" and "stylegan" ones can.
        growing_start: First resolution. growing_stage_kimg, growing_fade_kimg: How long one is trained and fades in.
        batch_by_resolution, learning_rate_by_resolution: Such as "8:256,16:128"; where there is none, `batch` and
            the two learning rates count. A learning rate given so is that of both networks.
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
    # Runs that began before there were the following have none of them in their settings.
    loss: str = setting("logistic", later=True)
    gradient_penalty: float = setting(10.0, later=True)
    drift: float = setting(0.001, later=True)
    synthesis_input: str = setting("constant", later=True)
    use_styles: bool = setting(True, later=True)
    normalisation: str = setting("instance", later=True)
    blur: bool = setting(True, later=True)
    growing: bool = setting(False, later=True)
    growing_start: int = setting(8, later=True)
    growing_stage_kimg: float = setting(600.0, later=True)
    growing_fade_kimg: float = setting(600.0, later=True)
    batch_by_resolution: str = setting("", later=True)
    learning_rate_by_resolution: str = setting("", later=True)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            self._check_type(field.name, getattr(self, field.name), field.type)
        for name in ("batch", "r1_interval", "path_length_interval", "mbstd_group_size"):
            self._require(getattr(self, name) >= 1, name, "at least 1")
        for name in ("classes", "seed", "r1_gamma", "path_length_weight", "conv_clamp", "ema_warmup", "adam_epsilon"):
            self._require(getattr(self, name) >= 0, name, "0 or more")
        for name in ("gradient_penalty", "drift", "growing_stage_kimg", "growing_fade_kimg"):
            self._require(getattr(self, name) >= 0, name, "0 or more")
        for name in ("learning_rate", "discriminator_learning_rate", "mapping_lr_multiplier", "ema_half_life_kimg"):
            self._require(getattr(self, name) > 0, name, "more than 0")
        for name in ("adam_beta1", "adam_beta2", "path_length_decay", "w_avg_beta"):
            self._require(0 <= getattr(self, name) < 1, name, "in [0, 1)")
        self._require(0 <= self.style_mixing <= 1, "style_mixing", "in [0, 1]")
        self._require(self.spectral_norm in SPECTRAL_NORMS, "spectral_norm", f"one of {', '.join(SPECTRAL_NORMS)}")
        self._require(self.loss in LOSSES, "loss", f"one of {', '.join(LOSSES)}")
        self._require(self.channels in (1, 3), "channels", "1 or 3")
        for name in ("generator_architecture", "discriminator_architecture"):
            self._require(
                getattr(self, name) in NETWORK_ARCHITECTURES, name, f"one of {', '.join(NETWORK_ARCHITECTURES)}"
            )
        if self.loss == "wgan-gp" and self.r1_gamma:
            raise ConfigError(f"r1_gamma is {self.r1_gamma!r}, but WGAN-GP has a penalty of its own: it has to be 0")
        # the networks' own settings are checked by their own classes, here and not when training has begun
        self.generator_config()
        width = self.discriminator_config().widths[4]
        if self.mbstd_channels and width % self.mbstd_channels:
            raise ConfigError(f"mbstd_channels is {self.mbstd_channels}, not a divisor of the {width} channels at 4 px")
        self._check_schedule()

    def _check_schedule(self) -> None:
        start = self.growing_start
        if self.growing and not (4 <= start <= self.resolution and start & (start - 1) == 0):
            raise ConfigError(f"growing_start is {start}, not a power of two in 4..{self.resolution}")
        schedule = self.growth_schedule()
        for resolution in schedule.resolutions:
            batch = schedule.batch_at(resolution)
            group = min(self.mbstd_group_size, batch)
            if self.mbstd_channels and batch % group:
                reason = f"is not a whole number of minibatch-deviation groups of {group} (mbstd_group_size)"
                raise ConfigError(f"a batch of {batch} {reason}")

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
        return generator_config(self)

    def discriminator_config(self) -> DiscriminatorSettings:
        """Return the settings of the discriminator."""
        return discriminator_config(self)

    def growth_schedule(self) -> GrowthSchedule:
        """Return what is trained when; without growing it has one stage."""
        return GrowthSchedule(
            start=self.growing_start if self.growing else self.resolution,
            resolution=self.resolution,
            stage_images=round(self.growing_stage_kimg * 1000),
            fade_images=round(self.growing_fade_kimg * 1000),
            batch=self.batch,
            learning_rate=self.learning_rate,
            discriminator_learning_rate=self.discriminator_learning_rate,
            batches=parse_by_resolution("batch_by_resolution", self.batch_by_resolution, int),
            learning_rates=parse_by_resolution("learning_rate_by_resolution", self.learning_rate_by_resolution, float),
        )


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
