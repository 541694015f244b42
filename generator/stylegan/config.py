"""Settings of the first StyleGAN's networks (Karras et al. 2019)."""

from dataclasses import dataclass
from typing import Any

from generator.settings import (
    MAX_CHANNELS,
    MAX_DIM,
    check_growth,
    check_image,
    check_taps,
    check_types,
    require,
    require_size,
    rule_of,
    setting,
    widths_of,
)

__all__ = [
    "FAMILY",
    "StyleGANDiscriminatorConfig",
    "StyleGANSynthesisConfig",
    "discriminator_settings",
    "synthesis_settings",
]

FAMILY = "stylegan"
NONLINEARITIES = ("relu", "lrelu")
INPUTS = ("constant", "latent")
NORMALISATIONS = ("instance", "pixel", "none")
_BLUR = (1.0, 2.0, 1.0)
_NO_BLUR = (1.0,)


def _check(config: "StyleGANSynthesisConfig | StyleGANDiscriminatorConfig") -> None:
    require(config.family == FAMILY, f"family is {config.family!r}, not {FAMILY!r}")
    check_image(config)
    check_taps("blur_filter", config.blur_filter)
    require(config.activation in NONLINEARITIES, f"activation {config.activation!r} is not one of {NONLINEARITIES}")


@dataclass(frozen=True)
class StyleGANSynthesisConfig:
    """The StyleGAN synthesis network w -> image, and what its paper leaves out one by one (table 1).

    Attributes:
        w_dim: Width of w.
        img_resolution: Side of the images in pixels, a power of two from 4 up.
        img_channels: Channels of the images: 1, 3 or 4.
        channel_base: Feature maps at resolution r have min(channel_base // r, channel_max) channels.
        channel_max: The upper limit in that rule.
        channels: Channels listed one by one from 4 px upwards, in place of that rule.
        blur_filter: Taps of the low-pass filter after each upsampling; a single tap changes nothing.
        activation: Activation of every layer, "relu" or "lrelu".
        input: "constant", a learned 4 x 4 x C tensor, or "latent", a dense layer from w (the "traditional input").
        use_styles: Whether w sets scale and bias after each layer; without, it only enters at the input.
        use_noise: Whether layers have noise inputs.
        normalisation: How the feature maps are normalised before the style: "instance", "pixel" (Karras et al. 2018)
            or "none".
        growing: Whether there is a tRGB layer at every resolution, for progressive growing, or at the last one only.
        family: Tells these settings from StyleGAN2's in a file.
        alpha: How far the layers at `img_resolution` have faded in, in [0, 1]; less than 1 in a network that was
            saved while it grew.

    Raises:
        ConfigError: A setting is out of range, or two contradict each other.
    """

    w_dim: int = 512
    img_resolution: int = 1024
    img_channels: int = 3
    channel_base: int = 16384
    channel_max: int = 512
    channels: tuple[int, ...] | None = None
    blur_filter: tuple[float, ...] = _BLUR
    activation: str = "lrelu"
    input: str = "constant"
    use_styles: bool = True
    use_noise: bool = True
    normalisation: str = "instance"
    growing: bool = True
    family: str = FAMILY
    alpha: float = setting(1.0, later=True)

    def __post_init__(self) -> None:
        check_types(self)
        require_size("w_dim", self.w_dim, 1, MAX_DIM)
        _check(self)
        require(self.input in INPUTS, f"input {self.input!r} is not one of {INPUTS}")
        require(
            self.normalisation in NORMALISATIONS,
            f"normalisation {self.normalisation!r} is not one of {NORMALISATIONS}",
        )
        for name in ("use_styles", "use_noise"):
            require(isinstance(getattr(self, name), bool), f"{name} is {getattr(self, name)!r}, not true or false")
        check_growth(self.growing, self.alpha, self.img_resolution)
        require(
            self.use_styles or self.input == "latent",
            "a constant input without styles gives one image whatever w is: use_styles, or input 'latent'",
        )

    @property
    def architecture(self) -> str:
        """The name of this one architecture, where StyleGAN2 has three."""
        return FAMILY

    @property
    def widths(self) -> dict[int, int]:
        """Channels of the feature maps at each resolution, 4 px first."""
        return widths_of(self.img_resolution, self.channel_base, self.channel_max, self.channels)

    @property
    def num_layers(self) -> int:
        """Number of layers, 2 log2(resolution) - 2: 18 at 1024 px."""
        return 2 * (self.img_resolution.bit_length() - 1) - 2

    @property
    def num_ws(self) -> int:
        """Number of w inputs: one for each layer; without styles one."""
        return self.num_layers if self.use_styles else 1


@dataclass(frozen=True)
class StyleGANDiscriminatorConfig:
    """The StyleGAN discriminator image, c -> logit: that of progressive growing, with a blur before downsampling.

    Attributes:
        c_dim: Number of classes, of which a label selects one output (Mescheder et al. 2018); 0 without labels.
        img_resolution: Side of the images in pixels, a power of two from 4 up.
        img_channels: Channels of the images: 1, 3 or 4.
        channel_base: Feature maps at resolution r have min(channel_base // r, channel_max) channels.
        channel_max: The upper limit in that rule.
        channels: Channels listed one by one from 4 px upwards, in place of that rule.
        blur_filter: Taps of the low-pass filter before each downsampling; a single tap changes nothing.
        activation: Activation of every layer, "relu" or "lrelu".
        mbstd_group_size: Images in a group of the minibatch deviation; None: the whole batch.
        mbstd_channels: Feature maps that the minibatch deviation appends; 0: it is left out.
        growing: Whether there is an fRGB layer at every resolution, for progressive growing, or at the first one only.
        family: Tells these settings from StyleGAN2's in a file.

    Raises:
        ConfigError: A setting is out of range, or two contradict each other.
    """

    c_dim: int = 0
    img_resolution: int = 1024
    img_channels: int = 3
    channel_base: int = 16384
    channel_max: int = 512
    channels: tuple[int, ...] | None = None
    blur_filter: tuple[float, ...] = _BLUR
    activation: str = "lrelu"
    mbstd_group_size: int | None = 4
    mbstd_channels: int = 1
    growing: bool = True
    family: str = FAMILY

    def __post_init__(self) -> None:
        check_types(self)
        require_size("c_dim", self.c_dim, 0, MAX_DIM)
        _check(self)
        if self.mbstd_group_size is not None:
            require_size("mbstd_group_size", self.mbstd_group_size, 1, 1 << 16)
        require_size("mbstd_channels", self.mbstd_channels, 0, MAX_CHANNELS)
        require(isinstance(self.growing, bool), f"growing is {self.growing!r}, not true or false")

    @property
    def architecture(self) -> str:
        """The name of this one architecture, where StyleGAN2 has three."""
        return FAMILY

    @property
    def widths(self) -> dict[int, int]:
        """Channels of the feature maps at each resolution, 4 px first."""
        return widths_of(self.img_resolution, self.channel_base, self.channel_max, self.channels)

    @property
    def outputs(self) -> int:
        """Number of scores that the last layer gives: one, or one a class."""
        return self.c_dim or 1


def synthesis_settings(training: Any) -> StyleGANSynthesisConfig:
    """Return the synthesis network that a training run asks for.

    Args:
        training: Settings of the run, a `generator.training.config.TrainConfig`.

    Raises:
        ConfigError: They do not make a network.
    """
    norm = training.spectral_norm
    require("g" not in norm, f"spectral_norm is {norm!r}, which a {FAMILY!r} generator does not have")
    return StyleGANSynthesisConfig(
        w_dim=training.w_dim,
        img_resolution=training.resolution,
        img_channels=training.channels,
        channel_base=training.channel_base,
        channel_max=training.channel_max,
        blur_filter=_BLUR if training.blur else _NO_BLUR,
        input=training.synthesis_input,
        use_styles=training.use_styles,
        use_noise=training.use_noise,
        normalisation=training.normalisation,
        growing=training.growing,
    )


def discriminator_settings(training: Any) -> StyleGANDiscriminatorConfig:
    """Return the discriminator that a training run asks for; see `synthesis_settings`."""
    return StyleGANDiscriminatorConfig(
        c_dim=training.classes,
        img_resolution=training.resolution,
        img_channels=training.channels,
        channel_base=training.discriminator_channel_base or training.channel_base,
        channel_max=training.discriminator_channel_max or training.channel_max,
        blur_filter=_BLUR if training.blur else _NO_BLUR,
        mbstd_group_size=training.mbstd_group_size,
        mbstd_channels=training.mbstd_channels,
        growing=training.growing,
    )


def training_settings(config: StyleGANSynthesisConfig) -> dict[str, Any]:
    """Return the settings of a training run that such a network needs, see `generator.families.Family`."""
    base, limit = rule_of(config.widths)
    return {
        "channel_base": base,
        "channel_max": limit,
        "synthesis_input": config.input,
        "use_styles": config.use_styles,
        "normalisation": config.normalisation,
        "blur": len(config.blur_filter) > 1,
    }
