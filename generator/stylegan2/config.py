"""Settings of the StyleGAN2 networks, and of the mapping network that StyleGAN shares with it."""

from dataclasses import dataclass

from generator.settings import (
    ACTIVATIONS,
    MAX_CHANNELS,
    MAX_DIM,
    MAX_LAYERS,
    check_growth,
    check_image,
    check_taps,
    require,
    require_finite,
    require_size,
    setting,
    widths_of,
)

__all__ = ["ARCHITECTURES", "DiscriminatorConfig", "MappingConfig", "SynthesisConfig"]

ARCHITECTURES = ("skip", "resnet", "orig")


@dataclass(frozen=True)
class MappingConfig:
    """The mapping network z, c -> w.

    `label_mode` says how a label enters: "embed" (StyleGAN2-ADA: a biased layer, normalised by itself)
    or "concat" (TensorFlow StyleGAN and StyleGAN2: a plain matrix, normalised together with z).
    `layer_dim` is the width of the hidden layers, `embed_dim` that of the embedded label.
    """

    z_dim: int = 512
    c_dim: int = 0
    w_dim: int = 512
    num_layers: int = 8
    layer_dim: int | None = None
    embed_dim: int | None = None
    label_mode: str = "embed"
    activation: str = "lrelu"
    lr_multiplier: float = 0.01
    w_avg_beta: float = 0.995

    def __post_init__(self) -> None:
        require_size("z_dim", self.z_dim, 0, MAX_DIM)
        require_size("c_dim", self.c_dim, 0, MAX_DIM)
        require(self.z_dim + self.c_dim > 0, "a mapping network needs a latent or a label: z_dim and c_dim are both 0")
        require_size("w_dim", self.w_dim, 1, MAX_DIM)
        require_size("num_layers", self.num_layers, 0, MAX_LAYERS)
        for name in ("layer_dim", "embed_dim"):
            if getattr(self, name) is not None:
                require_size(name, getattr(self, name), 1, MAX_DIM)
        require(self.label_mode in ("embed", "concat"), f"label_mode is {self.label_mode!r}, not embed or concat")
        require(self.activation in ACTIVATIONS, f"activation {self.activation!r} is not one of {ACTIVATIONS}")
        require_finite("lr_multiplier", self.lr_multiplier)
        require(0 <= self.w_avg_beta < 1, f"w_avg_beta is {self.w_avg_beta!r}, not in [0, 1)")


def _check_image(config: "SynthesisConfig | DiscriminatorConfig") -> None:
    check_image(config)
    require(config.architecture in ARCHITECTURES, f"architecture {config.architecture!r} is not in {ARCHITECTURES}")
    require(config.activation in ACTIVATIONS, f"activation {config.activation!r} is not one of {ACTIVATIONS}")
    check_taps("resample_filter", config.resample_filter)
    require_finite("conv_clamp", config.conv_clamp)
    require(not config.growing or config.architecture == "orig", f"{config.architecture!r} networks do not grow")


@dataclass(frozen=True)
class SynthesisConfig:
    """The StyleGAN2 synthesis network w -> image.

    Feature maps at resolution r have min(channel_base // r, channel_max) channels, unless `channels`
    lists them one by one from 4 px upwards. `growing` puts a tRGB layer at every resolution of an "orig" network
    (rows A to D of table 1); `alpha` is how far the layers at `img_resolution` have faded in, of a network that was
    saved while it grew.
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

    def __post_init__(self) -> None:
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
    """The discriminator image, c -> logit.

    `label_mode`: "project" (StyleGAN2-ADA: a mapped label times the features) or "select" (TensorFlow
    StyleGAN2: one output per class, the label picks its own). `mbstd_group_size` None takes the whole batch.
    `growing` as of the generator, with fRGB layers.
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

    def __post_init__(self) -> None:
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
