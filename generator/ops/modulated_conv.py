"""The modulated convolution of StyleGAN2, in its two forms.

Reference: Karras et al. 2020, section 2.2, equations 1 (modulation) and 3 (demodulation).
"""

from torch import Tensor
from torch.nn import functional

from generator.ops.frozen_conv import FrozenConv2d, Kept
from generator.ops.modulate import modulate
from generator.ops.upfirdn2d import upfirdn2d

__all__ = [
    "DEFAULT_FORM",
    "EPSILON",
    "FrozenFilteredConv2d",
    "demodulation_factors",
    "filtered_conv2d",
    "modulated_conv2d",
]

EPSILON = 1e-8
"""Under the root of equation 3."""

# The fixed rule which form runs, from `python -m bench.modulated_conv` on a CPU: one shared convolution takes 0.01 to
# 0.84 of the other's time with frozen weights, and 0.03 to 1.07 with trained ones from batch 2 up. (Training with one
# image at a time, 0.79 to 1.30, is not worth a rule.) On CUDA nothing has been measured yet.
DEFAULT_FORM = "shared"


def demodulation_factors(weight_energy: Tensor, styles: Tensor) -> Tensor:
    """Return 1 / sqrt(sum over inputs and taps of (s w)^2 + 1e-8), equation 3.

    Args:
        weight_energy: Sum over the taps of the squared weight, `[O, I]`.
        styles: Styles `[N, I]`.

    Returns:
        A tensor `[N, O]`.
    """
    return (styles.square() @ weight_energy.t() + EPSILON).rsqrt()


def filtered_conv2d(
    x: Tensor,
    weight: Tensor,
    f: Tensor | None = None,
    *,
    up: int = 1,
    down: int = 1,
    padding: int = 0,
    groups: int = 1,
    flip_weight: bool = True,
) -> Tensor:
    """Convolve with filtered up- or downsampling, without making the image with the inserted zeros.

    Args:
        x: Feature maps `[N, C, H, W]`.
        weight: Weights `[O, C // groups, kh, kw]`.
        f: Dense low-pass filter `[k, k]` from `setup_filter` (sum one), or None.
        up: Upsampling factor before the convolution.
        down: Downsampling factor after it.
        padding: Padding with respect to the upsampled image.
        groups: As in `torch.nn.functional.conv2d`.
        flip_weight: True correlates as `conv2d` does, False convolves.

    Returns:
        A tensor `[N, O, H * up // down, W * up // down]` for "same" padding. Differentiable any number of times.

    Reference: Karras et al. 2020, appendix B (filtered up- and downsampling of the convolution layers).
    """
    # What the filter and the zeros of upsampling need is padded here, so that `padding` alone decides whether the size
    # stays; where it cannot be halved there is one more in front.
    taps = 1 if f is None else f.shape[-1]
    x0 = x1 = padding
    if up > 1:
        x0 += (taps + up - 1) // 2
        x1 += (taps - up) // 2
    if down > 1:
        x0 += (taps - down + 1) // 2
        x1 += (taps - down) // 2
    kernel = weight.shape[-1]
    if up > 1 and kernel > 1:
        return _up_conv2d(x, weight, f, up, down, (x0, x1), groups, flip_weight)
    if not flip_weight and kernel > 1:
        weight = weight.flip([2, 3])
    if kernel == 1 and down > 1 and up == 1:  # filter fewer channels' worth of pixels first
        x = upfirdn2d(x, f, down=down, padding=[x0, x1, x0, x1])
        return functional.conv2d(x, weight, groups=groups)
    if kernel == 1 and up > 1:  # convolve before there are more pixels; the two commute, as both are linear
        x = functional.conv2d(x, weight, groups=groups)
        return upfirdn2d(x, f, up=up, down=down, padding=[x0, x1, x0, x1], gain=up**2)
    if down > 1 and up == 1:
        x = upfirdn2d(x, f, padding=[x0, x1, x0, x1])
        return functional.conv2d(x, weight, stride=down, groups=groups)
    if x0 == x1 and x0 >= 0:  # what conv2d can pad by itself
        return functional.conv2d(x, weight, padding=x0, groups=groups)
    return functional.conv2d(upfirdn2d(x, None, padding=[x0, x1, x0, x1]), weight, groups=groups)


def _up_conv2d(
    x: Tensor,
    weight: Tensor,
    f: Tensor | None,
    up: int,
    down: int,
    padding: tuple[int, int],
    groups: int,
    flip_weight: bool,
) -> Tensor:
    """Transposed convolution with stride `up`, then the low-pass filter: the two commute."""
    kernel = weight.shape[-1]
    if groups == 1:
        transposed = weight.transpose(0, 1)
    else:
        o, i = weight.shape[:2]
        transposed = weight.reshape(groups, o // groups, i, kernel, kernel).transpose(1, 2)
        transposed = transposed.reshape(groups * i, o // groups, kernel, kernel)
    crop, (x0, x1) = _after_transposed(kernel, up, padding)
    if flip_weight:  # the transposed convolution already turns the kernel round
        transposed = transposed.flip([2, 3])
    x = functional.conv_transpose2d(x, transposed, stride=up, padding=crop, groups=groups)
    x = upfirdn2d(x, f, padding=[x0, x1, x0, x1], gain=up**2)
    return x if down == 1 else upfirdn2d(x, f, down=down)


def _after_transposed(kernel: int, up: int, padding: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    """Return what the transposed convolution crops, and how the filter after it pads."""
    # A transposed convolution pads by kernel - 1 in front and by kernel - up behind. What is too much on both sides it
    # crops itself, at no cost; the filter pads or crops the rest.
    x0, x1 = padding[0] - (kernel - 1), padding[1] - (kernel - up)
    crop = max(min(-x0, -x1), 0)
    return crop, (x0 + crop, x1 + crop)


class FrozenFilteredConv2d:
    """`filtered_conv2d` with constant weights, upsampling or not; differentiable once.

    Args:
        weight: Weights `[O, I, k, k]`, oriented as the networks' layers have it: convolved when upsampling.
        f: Dense low-pass filter from `setup_filter`.
        up: Upsampling factor.
    """

    def __init__(self, weight: Tensor, f: Tensor, up: int) -> None:
        kernel = weight.shape[-1]
        self._up, self._f = up, f
        if up == 1:
            self._convolution = FrozenConv2d(weight, padding=kernel // 2)
            return
        taps = f.shape[-1]
        padding = kernel // 2 + (taps + up - 1) // 2, kernel // 2 + (taps - up) // 2
        crop, self._padding = _after_transposed(kernel, up, padding)
        self._convolution = FrozenConv2d(weight, padding=crop, up=up)

    def __call__(self, x: Tensor) -> Tensor:
        """Map `[N, I, H, W]` to `[N, O, H * up, W * up]`."""
        x = self._convolution(x)
        return x if self._up == 1 else self._filter(x)

    def forward(self, x: Tensor) -> tuple[Tensor, Kept]:
        """Return the result, computed outside of autograd, and what `backward` needs."""
        y, kept = self._convolution.forward(x)
        return y if self._up == 1 else self._filter(y), kept

    def unfiltered(self, dy: Tensor) -> Tensor:
        """Return the gradient of what the filter takes from that of what it gives."""
        if self._up == 1:
            return dy
        # Turned round, a filter of k taps reaches k - 1 pixels before and behind; what was padded has no gradient.
        reach = self._f.shape[-1] - 1
        padding = [reach - side for side in self._padding] * 2
        return upfirdn2d(dy, self._f, padding=padding, flip_filter=True, gain=self._up**2)

    def backward(self, dy: Tensor, x: Tensor | None, y: Tensor | None) -> Tensor:
        """Return the input's gradient from that of what the filter takes, and what `forward` kept."""
        return self._convolution.backward(dy, x, y)

    def _filter(self, x: Tensor) -> Tensor:
        return upfirdn2d(x, self._f, padding=self._padding * 2, gain=self._up**2)


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    *,
    up: int = 1,
    down: int = 1,
    padding: int = 0,
    resample_filter: Tensor | None = None,
    demodulate: bool = True,
    flip_weight: bool = True,
    weight_energy: Tensor | None = None,
    form: str = DEFAULT_FORM,
) -> Tensor:
    """Convolve each image with the weight scaled by its own styles and normalised again.

    Args:
        x: Feature maps `[N, I, H, W]`.
        weight: Weights `[O, I, kh, kw]`.
        styles: One factor per image and input channel, `[N, I]`.
        up: Upsampling factor.
        down: Downsampling factor.
        padding: Padding with respect to the upsampled image.
        resample_filter: Dense low-pass filter from `setup_filter`.
        demodulate: Divide by the expected deviation of the output (equation 3).
        flip_weight: True correlates as `conv2d` does, False convolves.
        weight_energy: `weight.square().sum([2, 3])` where the caller has it already (frozen weights).
        form: "per_sample" (weights per image, one grouped convolution) or "shared" (scale the
            activations before and after one convolution); both are the same linear map.

    Returns:
        A tensor `[N, O, H', W']`. Twice differentiable in all tensors.
    """
    if form == "per_sample":
        return _per_sample(x, weight, styles, up, down, padding, resample_filter, demodulate, flip_weight)
    if form != "shared":
        raise ValueError(f"form {form!r} is not per_sample or shared")
    y = filtered_conv2d(
        modulate(x, styles),
        weight.to(x.dtype),
        resample_filter,
        up=up,
        down=down,
        padding=padding,
        flip_weight=flip_weight,
    )
    if not demodulate:
        return y
    # Scaling inputs and outputs instead of weights: sum over i, k of (s_i w_oik) x_i = sum w_oik (s_i x_i), and the sum
    # under the root of equation 3 is sum over i of s_i^2 times the energy of w_oi.
    if weight_energy is None:
        weight_energy = weight.square().sum([2, 3])
    return y * demodulation_factors(weight_energy, styles)[:, :, None, None].to(x.dtype)


def _per_sample(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    up: int,
    down: int,
    padding: int,
    f: Tensor | None,
    demodulate: bool,
    flip_weight: bool,
) -> Tensor:
    n, i, h, w = x.shape
    o, _, kh, kw = weight.shape
    weights = weight[None] * styles[:, None, :, None, None]  # [N, O, I, kh, kw], equation 1
    if demodulate:
        weights = weights * (weights.square().sum([2, 3, 4], keepdim=True) + EPSILON).rsqrt()  # equation 3
    # the images become the groups of one convolution, each with weights of its own
    y = filtered_conv2d(
        x.reshape(1, n * i, h, w),
        weights.reshape(n * o, i, kh, kw).to(x.dtype),
        f,
        up=up,
        down=down,
        padding=padding,
        groups=n,
        flip_weight=flip_weight,
    )
    return y.reshape(n, o, *y.shape[2:])
