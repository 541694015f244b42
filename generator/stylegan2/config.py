"""Settings of the StyleGAN2 networks (Karras et al. 2020)."""

from dataclasses import dataclass
from typing import Any

from generator.config import MappingConfig
from generator.settings import (
    ACTIVATIONS,
    MAX_CHANNELS,
    MAX_DIM,
    MAX_LAYERS,
    SQUARE,
    check_growth,
    check_image,
    check_start,
    check_taps,
    check_types,
    require,
    require_finite,
    require_size,
    rule_of,
    setting,
    widths_of,
)

__all__ = [
    "ARCHITECTURES",
    "DiscriminatorConfig",
    "SynthesisConfig",
    "discriminator_settings",
    "synthesis_settings",
    "training_settings",
]

ARCHITECTURES = ("skip", "resnet", "orig")


def _check_image(config: "SynthesisConfig | DiscriminatorConfig") -> None:
    check_image(config)
    require(config.architecture in ARCHITECTURES, f"architecture {config.architecture!r} is not in {ARCHITECTURES}")
    require(config.activation in ACTIVATIONS, f"activation {config.activation!r} is not one of {ACTIVATIONS}")
    check_taps("resample_filter", config.resample_filter)
    require_finite("conv_clamp", config.conv_clamp)
    require(
        not config.growing or config.architecture == "orig",
        f"growing is True, but {config.architecture!r} networks do not grow",
    )
    check_start(config.start, config.img_resolution)
    require(not config.growing or config.start == SQUARE, "networks whose images are not square do not grow")


@dataclass(frozen=True)
class SynthesisConfig:
    """The StyleGAN2 synthesis network w -> image.

    Attributes:
        w_dim: Width of w.
        img_resolution: Side of the images in pixels, a power of two from 4 up.
        img_channels: Channels of the images: 1, 3 or 4.
        channel_base: Feature maps at resolution r have min(channel_base // r, channel_max) channels.
        channel_max: The upper limit in that rule.
        channels: Channels listed one by one from 4 px upwards, in place of that rule.
        architecture: "skip", "resnet" or "orig" (figure 7).
        resample_filter: Taps of the low-pass filter that goes with up- and downsampling.
        use_noise: Whether layers have noise inputs.
        demodulate: Whether the modulated weights are brought to unit norm (equation 3).
        activation: Activation of every layer.
        conv_clamp: Limit on the absolute values of feature maps; None: no limit.
        growing: Whether an "orig" network has a tRGB layer at every resolution (rows A to D of table 1).
        alpha: How far the layers at `img_resolution` have faded in, in [0, 1]; less than 1 in a network that was
            saved while it grew.
        start: Height and width of the constant; the images have `img_resolution / 4` times as many pixels each way.

    Raises:
        ConfigError: A setting is out of range, or two contradict each other.
    """

    w_dim: int = 512
    img_resolution: int = 1024
    img_channels: int = 3
    channel_base: int = 32768
    channel_max: int = 512
    channels: tuple[int, ...] | None = None
    architecture: str = "skip"
    resample_filter: tuple[float, ...] = (1.0, 3.0, 3.0, 1.0)
    use_noise: bool = True
    demodulate: bool = True
    activation: str = "lrelu"
    conv_clamp: float | None = None
    growing: bool = setting(False, later=True)
    alpha: float = setting(1.0, later=True)
    start: tuple[int, ...] = setting(SQUARE, later=True)

    def __post_init__(self) -> None:
        check_types(self)
        require_size("w_dim", self.w_dim, 1, MAX_DIM)
        _check_image(self)
        check_growth(self.growing, self.alpha, self.img_resolution)

    @property
    def widths(self) -> dict[int, int]:
        """Channels of the feature maps at each resolution, 4 px first."""
        return widths_of(self.img_resolution, self.channel_base, self.channel_max, self.channels)

    @property
    def num_ws(self) -> int:
        """Number of style inputs, 2 log2(resolution) - 2."""
        return 2 * (self.img_resolution.bit_length() - 1) - 2


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The StyleGAN2 discriminator image, c -> logit.

    Attributes:
        c_dim: Number of classes; 0 for a network without labels.
        img_resolution: Side of the images in pixels, a power of two from 4 up.
        img_channels: Channels of the images: 1, 3 or 4.
        channel_base: Feature maps at resolution r have min(channel_base // r, channel_max) channels.
        channel_max: The upper limit in that rule.
        channels: Channels listed one by one from 4 px upwards, in place of that rule.
        architecture: "skip", "resnet" or "orig" (figure 7).
        resample_filter: Taps of the low-pass filter that goes with downsampling.
        activation: Activation of every layer.
        conv_clamp: Limit on the absolute values of feature maps; None: no limit.
        mbstd_group_size: Images in a group of the minibatch deviation; None: the whole batch.
        mbstd_channels: Feature maps that the minibatch deviation appends; 0: it is left out.
        label_mode: "project" (StyleGAN2-ADA: a mapped label times the features) or "select" (TensorFlow StyleGAN2:
            one output per class, and the label picks its own).
        cmap_dim: Width of the mapped label; None: the channels at 4 px.
        mapping_layers: Dense layers that map a label.
        mapping_lr_multiplier: Learning rate of these layers relative to the others.
        growing: Whether an "orig" network has an fRGB layer at every resolution.
        start: Height and width of the last feature maps.

    Raises:
        ConfigError: A setting is out of range, or two contradict each other.
    """

    c_dim: int = 0
    img_resolution: int = 1024
    img_channels: int = 3
    channel_base: int = 32768
    channel_max: int = 512
    channels: tuple[int, ...] | None = None
    architecture: str = "resnet"
    resample_filter: tuple[float, ...] = (1.0, 3.0, 3.0, 1.0)
    activation: str = "lrelu"
    conv_clamp: float | None = None
    mbstd_group_size: int | None = 4
    mbstd_channels: int = 1
    label_mode: str = "project"
    cmap_dim: int | None = None
    mapping_layers: int = 8
    mapping_lr_multiplier: float = 0.01
    growing: bool = setting(False, later=True)
    start: tuple[int, ...] = setting(SQUARE, later=True)

    def __post_init__(self) -> None:
        check_types(self)
        require_size("c_dim", self.c_dim, 0, MAX_DIM)
        _check_image(self)
        check_growth(self.growing, 1.0, self.img_resolution)
        if self.mbstd_group_size is not None:
            require_size("mbstd_group_size", self.mbstd_group_size, 1, 1 << 16)
        require_size("mbstd_channels", self.mbstd_channels, 0, MAX_CHANNELS)
        require(self.label_mode in ("project", "select"), f"label_mode is {self.label_mode!r}, not project or select")
        require_size("mapping_layers", self.mapping_layers, 0, MAX_LAYERS)
        if self.cmap_dim is not None:
            require_size("cmap_dim", self.cmap_dim, 1, MAX_DIM)
        require_finite("mapping_lr_multiplier", self.mapping_lr_multiplier)

    @property
    def widths(self) -> dict[int, int]:
        """Channels of the feature maps at each resolution, 4 px first."""
        return widths_of(self.img_resolution, self.channel_base, self.channel_max, self.channels)

    @property
    def outputs(self) -> int:
        """Number of values that the last layer gives: one score, one a class, or features to project a label on."""
        if self.label_mode == "select" or not self.c_dim:
            return self.c_dim or 1
        return self.cmap_dim or self.widths[4]

    @property
    def mapping(self) -> MappingConfig | None:
        """Settings of the network that maps a label; None where labels are not mapped."""
        if not self.c_dim or self.label_mode == "select":
            return None
        return MappingConfig(
            z_dim=0,
            c_dim=self.c_dim,
            w_dim=self.outputs,
            num_layers=self.mapping_layers,
            activation=self.activation,
            lr_multiplier=self.mapping_lr_multiplier,
        )


def synthesis_settings(training: Any) -> SynthesisConfig:
    """Return the synthesis network that a training run asks for.

    Args:
        training: Settings of the run, a `generator.training.config.TrainConfig`.

    Raises:
        ConfigError: They do not make a network.
    """
    return SynthesisConfig(
        w_dim=training.w_dim,
        img_resolution=training.resolution,
        img_channels=training.channels,
        channel_base=training.channel_base,
        channel_max=training.channel_max,
        architecture=training.generator_architecture,
        use_noise=training.use_noise,
        demodulate=training.demodulate,
        conv_clamp=training.conv_clamp or None,
        growing=training.growing,
    )


def discriminator_settings(training: Any) -> DiscriminatorConfig:
    """Return the discriminator that a training run asks for; see `synthesis_settings`."""
    return DiscriminatorConfig(
        c_dim=training.classes,
        img_resolution=training.resolution,
        img_channels=training.channels,
        channel_base=training.discriminator_channel_base or training.channel_base,
        channel_max=training.discriminator_channel_max or training.channel_max,
        architecture=training.discriminator_architecture,
        conv_clamp=training.conv_clamp or None,
        mbstd_group_size=training.mbstd_group_size,
        mbstd_channels=training.mbstd_channels,
        mapping_layers=training.discriminator_mapping_layers or training.mapping_layers,
        mapping_lr_multiplier=training.mapping_lr_multiplier,
        growing=training.growing,
    )


def training_settings(config: SynthesisConfig) -> dict[str, Any]:
    """Return the settings of a training run that such a network needs, see `generator.families.Family`."""
    base, limit = rule_of(config.widths)
    return {"channel_base": base, "channel_max": limit, "demodulate": config.demodulate}
