"""Settings of the StyleGAN3 synthesis network (Karras et al. 2021), and the schedule of its layers."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Final

from generator.errors import ConfigError
from generator.settings import (
    MAX_CHANNELS,
    MAX_DIM,
    MAX_LAYERS,
    MAX_RESOLUTION,
    check_types,
    require,
    require_finite,
    require_size,
)

__all__ = [
    "ARCHITECTURES",
    "FAMILY",
    "LayerPlan",
    "StyleGAN3SynthesisConfig",
    "synthesis_settings",
    "training_settings",
]

FAMILY = "stylegan3"
_KERNELS: Final = {"stylegan3-t": (3, False), "stylegan3-r": (1, True)}
"""Of each configuration the side of the convolutions' kernels, and whether downsampling filters are radial."""
ARCHITECTURES = tuple(_KERNELS)
_MAX_TAPS = 96
_ALIASES = "a layer's activation has a sampling rate that is not above twice its cutoff: lrelu_upsampling is too low"


@dataclass(frozen=True)
class Signal:
    """What passes between two layers.

    Attributes:
        cutoff: Highest frequency that it should hold, in cycles per image.
        half_width: Half the width of the filters' transition band.
        rate: Sampling rate, in pixels per image.
        size: Side of the feature maps in pixels, with the margin around the image.
        channels: Number of channels.
    """

    cutoff: float
    half_width: float
    rate: int
    size: int
    channels: int


@dataclass(frozen=True)
class LayerPlan:
    """One layer of the synthesis network, as the schedule gives it.

    Attributes:
        index: Number of the layer, from 0.
        entering: The signal that it takes.
        leaving: The signal that it gives.
        kernel: Side of the convolution's kernel.
        to_rgb: Whether it is the last one, which gives the image and has no activation.
        radial: Whether its downsampling filter is radially symmetric.
        oversampling: Sampling rate of the activation, relative to the larger of both signals.
        filter_size: Taps of a filter for each step of up- or downsampling.
    """

    index: int
    entering: Signal
    leaving: Signal
    kernel: int
    to_rgb: bool
    radial: bool
    oversampling: int
    filter_size: int

    @property
    def name(self) -> str:
        """Name of the module: its number, and the size and channels of what it gives."""
        return f"L{self.index}_{self.leaving.size}_{self.leaving.channels}"

    @property
    def rate(self) -> int:
        """Sampling rate of the activation."""
        return max(self.entering.rate, self.leaving.rate) * self.oversampling

    @property
    def up(self) -> int:
        """Upsampling factor before the activation."""
        return self.rate // self.entering.rate

    @property
    def down(self) -> int:
        """Downsampling factor after the activation."""
        return self.rate // self.leaving.rate

    @property
    def up_taps(self) -> int:
        """Taps of the filter before the activation; 1 where there is none."""
        return self._taps(self.up)

    @property
    def down_taps(self) -> int:
        """Taps of the filter after the activation; 1 where there is none."""
        return self._taps(self.down)

    def _taps(self, factor: int) -> int:
        return 1 if factor == 1 or self.to_rgb else self.filter_size * factor

    @property
    def padding(self) -> tuple[int, int, int, int]:
        """Padding after upsampling, (x0, x1, y0, y1), with which the feature maps get their size."""
        total = (self.leaving.size - 1) * self.down + 1
        total -= (self.entering.size + self.kernel - 1) * self.up
        total += self.up_taps + self.down_taps - 2
        low = (total + self.up) // 2
        return low, total - low, low, total - low


@dataclass(frozen=True)
class StyleGAN3SynthesisConfig:
    """The StyleGAN3 synthesis network w -> image; configuration T by default.

    Attributes:
        w_dim: Width of w.
        img_resolution: Side of the images in pixels, a power of two from 16 up.
        img_channels: Channels of the images: 1, 3 or 4.
        channel_base: A signal of cutoff f has min(channel_base / 2 / f, channel_max) channels.
        channel_max: The upper limit in that rule.
        channels: Channels of every layer but the last listed one by one, in place of that rule.
        num_layers: Number of layers, without the input and the last one, which gives the image.
        num_critical: Number of critically sampled layers before the last one.
        first_cutoff: Cutoff of the input, in cycles per image.
        first_stopband: Its minimum stopband.
        last_stopband_rel: Minimum stopband of the last layers, relative to their cutoff.
        margin_size: Pixels around the image in every feature map but the last two.
        output_scale: Factor on the last layer's result.
        conv_kernel: Side of the convolutions' kernels: 3 in configuration T, 1 in R.
        filter_size: Taps of a low-pass filter for each step of up- or downsampling.
        lrelu_upsampling: Sampling rate of the activations relative to that of their layer's signals.
        use_radial_filters: Whether downsampling filters are radially symmetric, as in configuration R.
        conv_clamp: Limit on the absolute values of feature maps; None: no limit.
        magnitude_ema_beta: How much of the running magnitude of a layer's input is kept at each step of training.
        family: Tells these settings from those of other families in a file.

    Raises:
        ConfigError: A setting is out of range, or two contradict each other.

    Reference: Karras et al. 2021, sections 3.2 and 3.3, table 1 and appendix F (schedule, filters).
    """

    w_dim: int = 512
    img_resolution: int = 1024
    img_channels: int = 3
    channel_base: int = 32768
    channel_max: int = 512
    channels: tuple[int, ...] | None = None
    num_layers: int = 14
    num_critical: int = 2
    first_cutoff: float = 2.0
    first_stopband: float = 2**2.1
    last_stopband_rel: float = 2**0.3
    margin_size: int = 10
    output_scale: float = 0.25
    conv_kernel: int = 3
    filter_size: int = 6
    lrelu_upsampling: int = 2
    use_radial_filters: bool = False
    conv_clamp: float | None = 256.0
    magnitude_ema_beta: float = 0.999
    family: str = FAMILY

    def __post_init__(self) -> None:
        check_types(self)
        require(self.family == FAMILY, f"family is {self.family!r}, not {FAMILY!r}")
        require_size("w_dim", self.w_dim, 1, MAX_DIM)
        resolution = self.img_resolution
        require_size("img_resolution", resolution, 16, MAX_RESOLUTION)
        require(resolution & (resolution - 1) == 0, f"img_resolution is {resolution}, not a power of two")
        require(self.img_channels in (1, 3, 4), f"img_channels is {self.img_channels}, not 1, 3 or 4")
        require_size("channel_base", self.channel_base, 1, 1 << 20)
        require_size("channel_max", self.channel_max, 1, MAX_CHANNELS)
        require_size("num_layers", self.num_layers, 2, MAX_LAYERS)
        require_size("num_critical", self.num_critical, 0, self.num_layers - 1)
        require_size("margin_size", self.margin_size, 0, 64)
        require_size("conv_kernel", self.conv_kernel, 1, 7)
        require(self.conv_kernel % 2 == 1, f"conv_kernel is {self.conv_kernel}, not odd")
        require_size("filter_size", self.filter_size, 1, 16)
        require(self.lrelu_upsampling in (1, 2, 4), f"lrelu_upsampling is {self.lrelu_upsampling}, not 1, 2 or 4")
        require_finite("output_scale", self.output_scale)
        require_finite("conv_clamp", self.conv_clamp)
        beta = self.magnitude_ema_beta
        require(0 <= beta < 1, f"magnitude_ema_beta is {beta}, not in [0, 1)")
        self._check_bands()
        if self.channels is not None:
            listed = len(self.channels)
            require(listed == self.num_layers, f"channels has {listed} entries, not {self.num_layers}")
        for signal in self.signals:
            require_size("channels", signal.channels, 1, MAX_CHANNELS)
            require(signal.half_width > 0, "a layer's stopband is not above its cutoff")
        for layer in self.layers:
            require_size("taps of a filter", max(layer.up_taps, layer.down_taps), 1, _MAX_TAPS)
            require(layer.rate > 2 * max(layer.entering.cutoff, layer.leaving.cutoff) or layer.to_rgb, _ALIASES)

    def _check_bands(self) -> None:
        last = self.img_resolution / 2
        first, stop, rel = self.first_cutoff, self.first_stopband, self.last_stopband_rel
        require(0.5 <= first <= last, f"first_cutoff is {first}, not in 0.5..{last:g}")
        require(max(1.0, first) < stop <= self.img_resolution, f"first_stopband is {stop}, not above first_cutoff")
        require(1 < rel <= 16, f"last_stopband_rel is {rel}, not above 1")

    @property
    def signals(self) -> tuple[Signal, ...]:
        """What each layer gives, the last one the image; the first layer takes a signal like the one that it gives."""
        count, resolution = self.num_layers, self.img_resolution
        last_cutoff = resolution / 2
        last_stopband = last_cutoff * self.last_stopband_rel
        signals = []
        for i in range(count + 1):
            exponent = min(i / (count - self.num_critical), 1)
            cutoff = self.first_cutoff * (last_cutoff / self.first_cutoff) ** exponent
            stopband = self.first_stopband * (last_stopband / self.first_stopband) ** exponent
            rate = 2 ** math.ceil(math.log2(min(2 * stopband, resolution)))
            size = resolution if i >= count - 1 else rate + 2 * self.margin_size
            ruled = round(min(self.channel_base / 2 / cutoff, self.channel_max))
            channels = self.img_channels if i == count else ruled if self.channels is None else self.channels[i]
            signals.append(Signal(cutoff, max(stopband, rate / 2) - cutoff, rate, size, channels))
        return tuple(signals)

    @property
    def layers(self) -> tuple[LayerPlan, ...]:
        """The layers, first to last."""
        signals = self.signals
        count = self.num_layers
        return tuple(
            LayerPlan(
                index=i,
                entering=signals[max(i - 1, 0)],
                leaving=signals[i],
                kernel=1 if i == count else self.conv_kernel,
                to_rgb=i == count,
                # critically sampled layers keep the corners of the spectrum, which a radial filter would cut off
                radial=self.use_radial_filters and i < count - self.num_critical,
                oversampling=1 if i == count else self.lrelu_upsampling,
                filter_size=self.filter_size,
            )
            for i in range(count + 1)
        )

    @property
    def architecture(self) -> str:
        """The configuration that the paper calls so: translation (T) or rotation (R) equivariant."""
        kernel = (self.conv_kernel, self.use_radial_filters)
        return next((name for name, one in _KERNELS.items() if one == kernel), FAMILY)

    @property
    def activation(self) -> str:
        """Activation of every layer but the last."""
        return "lrelu"

    @property
    def growing(self) -> bool:
        """Whether the network can be grown: it cannot."""
        return False

    @property
    def alpha(self) -> float:
        """How far the last layers have faded in: wholly."""
        return 1.0

    @property
    def use_noise(self) -> bool:
        """Whether layers have noise inputs: they have none."""
        return False

    @property
    def widths(self) -> dict[int, int]:
        """Channels of the feature maps before the last layer, at the one resolution of this network's images."""
        return {self.img_resolution: self.signals[-2].channels}

    @property
    def num_ws(self) -> int:
        """Number of w inputs: the input's, one for each layer and the last one's."""
        return self.num_layers + 2


_SCHEDULE: Final[dict[str, type[int] | type[float]]] = {
    "num_layers": int,
    "num_critical": int,
    "first_cutoff": float,
    "first_stopband": float,
    "last_stopband_rel": float,
    "margin_size": int,
    "output_scale": float,
    "filter_size": int,
    "lrelu_upsampling": int,
}
"""Settings of the layers' schedule; a training run's `layer_schedule` lists those that are not the published ones."""


def _parse_schedule(text: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for entry in text.split(",") if text.strip() else []:
        name, _, value = (part.strip() for part in entry.partition(":"))
        kind = _SCHEDULE.get(name)
        if kind is None:
            raise ConfigError(f"layer_schedule: {name!r} is not one of {', '.join(_SCHEDULE)}")
        require(name not in values, f"layer_schedule names {name} twice")
        try:
            values[name] = kind(value)
        except ValueError:
            raise ConfigError(f"layer_schedule: {value!r} is no value of {name}") from None
    return values


def synthesis_settings(training: Any) -> StyleGAN3SynthesisConfig:
    """Return the synthesis network that a training run asks for.

    Args:
        training: Settings of the run, a `generator.training.config.TrainConfig`.

    Raises:
        ConfigError: They do not make a network.
    """
    name, norm = training.generator_architecture, training.spectral_norm
    require("g" not in norm, f"spectral_norm is {norm!r}, which a {name!r} generator does not have")
    require(not training.growing, f"growing is True, but {name!r} networks do not grow")
    require(not training.use_noise, f"use_noise is True, but a {name!r} generator has no noise inputs: --no-noise")
    kernel, radial = _KERNELS[name]
    return StyleGAN3SynthesisConfig(
        w_dim=training.w_dim,
        img_resolution=training.resolution,
        img_channels=training.channels,
        channel_base=training.channel_base,
        channel_max=training.channel_max,
        conv_kernel=kernel,
        use_radial_filters=radial,
        conv_clamp=training.conv_clamp or None,
        magnitude_ema_beta=0.5 ** (training.batch / (training.magnitude_half_life_kimg * 1000)),
        **_parse_schedule(training.layer_schedule),
    )


def training_settings(config: StyleGAN3SynthesisConfig) -> dict[str, Any]:
    """Return the settings of a training run that such a network needs, see `generator.families.Family`."""
    ruled = dataclasses.replace(config, channels=None)
    require(config.signals == ruled.signals, "a network whose layers' channels follow no rule cannot be trained")
    plain = StyleGAN3SynthesisConfig
    own = {name: getattr(config, name) for name in _SCHEDULE}
    return {
        "channel_base": config.channel_base,
        "channel_max": config.channel_max,
        "layer_schedule": ",".join(f"{name}:{value}" for name, value in own.items() if value != getattr(plain, name)),
    }
