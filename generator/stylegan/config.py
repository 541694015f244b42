"""Settings of the first StyleGAN's networks (Karras et al. 2019)."""

from dataclasses import dataclass

from generator.settings import (
    MAX_CHANNELS,
    MAX_DIM,
    check_growth,
    check_image,
    check_taps,
    require,
    require_size,
    setting,
    widths_of,
)

__all__ = ["FAMILY", "StyleGANDiscriminatorConfig", "StyleGANSynthesisConfig"]

FAMILY = "stylegan"
NONLINEARITIES = ("relu", "lrelu")
INPUTS = ("constant", "latent")
NORMALISATIONS = ("instance", "pixel", "none")


def _check(config: "StyleGANSynthesisConfig | StyleGANDiscriminatorConfig") -> None:
    require(config.family == FAMILY, f"family is {config.family!r}, not {FAMILY!r}")
    check_image(config)
    check_taps("blur_filter", config.blur_filter)
    require(config.activation in NONLINEARITIES, f"activation {config.activation!r} is not one of {NONLINEARITIES}")


@dataclass(frozen=True)
class StyleGANSynthesisConfig:
    """The StyleGAN synthesis network w -> image, and what its paper leaves out one by one (table 1).

    Attributes:
        channel_base, channel_max, channels: Widths, as of `SynthesisConfig`.
        blur_filter: Taps of the low-pass filter after each upsampling; one tap for none.
        input: "constant", a learned 4 x 4 x C tensor, or "latent", a dense layer from w (the "traditional input").
        use_styles: Whether w sets scale and bias after each layer; without, it only enters at the input.
        use_noise: Whether layers have noise inputs.
        normalisation: Of the feature maps before the style: "instance", "pixel" (Karras et al. 2018) or "none".
        growing: Whether there is a tRGB layer at every resolution, for progressive growing, or at the last one only.
        family: Tells these settings from StyleGAN2's in a file.
        alpha: How far the layers at img_resolution have faded in, of a network that was saved while it grew.
    """

    w_dim: int = 512
    img_resolution: int = 1024
    img_channels: int = 3
    channel_base: int = 16384
    channel_max: int = 512
    channels: tuple[int, ...] | None = None
    blur_filter: tuple[float, ...] = (1.0, 2.0, 1.0)
    activation: str = "lrelu"
    input: str = "constant"
    use_styles: bool = True
    use_noise: bool = True
    normalisation: str = "instance"
    growing: bool = True
    family: str = FAMILY
    alpha: float = setting(1.0, later=True)

    def __post_init__(self) -> None:
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
            "a constant input without styles draws one image whatever w is: use_styles, or input 'latent'",
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

    Labels select one of `c_dim` outputs (Mescheder et al. 2018). `growing` as of the generator, with fRGB layers.
    `mbstd_group_size` None takes the whole batch.
    """

    c_dim: int = 0
    img_resolution: int = 1024
    img_channels: int = 3
    channel_base: int = 16384
    channel_max: int = 512
    channels: tuple[int, ...] | None = None
    blur_filter: tuple[float, ...] = (1.0, 2.0, 1.0)
    activation: str = "lrelu"
    mbstd_group_size: int | None = 4
    mbstd_channels: int = 1
    growing: bool = True
    family: str = FAMILY

    def __post_init__(self) -> None:
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
