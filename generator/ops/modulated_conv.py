"""The modulated convolution of StyleGAN2, in its two forms.

Reference: Karras et al. 2020, section 2.2, equations 1 (modulation) and 3 (demodulation).
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from generator.ops.frozen_conv import FrozenConv2d, Kept
from generator.ops.modulate import modulate
from generator.ops.upfirdn2d import upfirdn2d, upfirdn2d_gradient

__all__ = [
    "DEFAULT_FORM",
    "EPSILON",
    "FilteredConvolution",
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


class FilteredConvolution:
    """`filtered_conv2d` and its gradients outside of autograd, for weights that are trained.

    The weights are oriented as the networks' layers have them: convolved when upsampling, correlated otherwise.

    Args:
        kernel: Height and width of the kernel, odd.
        taps: Height and width of the low-pass filter.
        up: Upsampling factor.
        down: Downsampling factor; one of the two is 1.
    """

    def __init__(self, kernel: int, taps: int, up: int = 1, down: int = 1) -> None:
        x0 = x1 = kernel // 2
        self.before: tuple[Any, ...] | None = None
        self.after: tuple[Any, ...] | None = None
        self.stride, self.padding, self.transposed = 1, 0, up > 1 and kernel > 1
        if up > 1:
            x0, x1 = x0 + (taps + up - 1) // 2, x1 + (taps - up) // 2
            if self.transposed:
                self.stride = up
                self.padding, (x0, x1) = _after_transposed(kernel, up, (x0, x1))
            self.after = _settings(1 if self.transposed else up, 1, x0, x1, float(up**2))
        elif down > 1:
            x0, x1 = x0 + (taps - down + 1) // 2, x1 + (taps - down) // 2
            self.stride = down if kernel > 1 else 1  # one weight: filter fewer pixels first
            self.before = _settings(1, 1 if kernel > 1 else down, x0, x1, 1.0)
        else:
            self.padding = kernel // 2
        self._kernel, self._up, self._down = kernel, up, down

    def forward(self, x: Tensor, weight: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
        """Map `[N, I, H, W]`, weights `[O, I, k, k]` and the filter to what is convolved, and `[N, O, H', W']`."""
        if self.before is not None:
            x = torch.ops.invert.upfirdn2d.default(x, f, *self.before)
        y = self._pointwise(x, weight) if self._is_thin(weight) else self._convolve(x, weight)
        return x, y if self.after is None else torch.ops.invert.upfirdn2d.default(y, f, *self.after)

    def backward(
        self,
        dy: Tensor,
        seen: Tensor,
        weight: Tensor,
        f: Tensor,
        size: tuple[int, int],
        need_x: bool,
        need_weight: bool,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the gradients of x and the weights, as far as they are needed.

        Args:
            dy: Gradient of the result.
            seen: What `forward` convolved.
            weight: The weights.
            f: The filter.
            size: Height and width of x.
            need_x: Whether the gradient of x is needed.
            need_weight: Whether that of the weights is.
        """
        if not (need_x or need_weight):
            return None, None
        if self.after is not None:
            inner = [self.stride * (n - 1) + self._kernel - 2 * self.padding for n in size]
            dy = upfirdn2d_gradient(dy, f, inner if self.transposed else size, self.after)
        if self._is_thin(weight):
            dx, dweight = self._pointwise_backward(dy, seen, weight, need_x, need_weight)
        else:
            dx, dweight = self._convolve_backward(dy, seen, weight, need_x, need_weight)
        if dx is not None and self.before is not None:
            dx = upfirdn2d_gradient(dx, f, size, self.before)
        return dx, dweight

    def _is_thin(self, weight: Tensor) -> bool:
        """Whether it is a product of matrices: of so few channels that a convolution's own layout is a loss."""
        return self._kernel == 1 and weight.shape[1] <= _THIN

    def _geometry(self) -> tuple[Any, ...]:
        return [self.stride] * 2, [self.padding] * 2, [1, 1], self.transposed, [0, 0], 1

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        y: Tensor = torch.convolution(x, weight.transpose(0, 1) if self.transposed else weight, None, *self._geometry())
        return y

    def _convolve_backward(
        self, dy: Tensor, x: Tensor, weight: Tensor, need_x: bool, need_weight: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        own = weight.transpose(0, 1) if self.transposed else weight
        dx, dweight, _ = torch.ops.aten.convolution_backward.default(
            dy, x, own, None, *self._geometry(), [need_x, need_weight, False]
        )
        return dx, dweight.transpose(0, 1) if self.transposed and need_weight else dweight

    @staticmethod
    def _pointwise(x: Tensor, weight: Tensor) -> Tensor:
        n, _, h, w = x.shape
        y = _rows(x) @ weight[:, :, 0, 0].t()
        return y.reshape(n, h, w, -1).permute(0, 3, 1, 2)

    @staticmethod
    def _pointwise_backward(
        dy: Tensor, x: Tensor, weight: Tensor, need_x: bool, need_weight: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        n, c, h, w = x.shape
        rows = _rows(dy)
        dx = (rows @ weight[:, :, 0, 0]).reshape(n, h, w, c).permute(0, 3, 1, 2) if need_x else None
        return dx, (rows.t() @ _rows(x))[:, :, None, None] if need_weight else None


_THIN = 4
"""Channels of an image, at most."""


def _settings(up: int, down: int, x0: int, x1: int, gain: float) -> tuple[Any, ...]:
    """Return what `upfirdn2d`'s operator is given after the filter, alike along both axes."""
    return up, up, down, down, x0, x1, x0, x1, False, gain


def _rows(x: Tensor) -> Tensor:
    """Return the pixels of maps `[N, C, H, W]`, one a row, `[N H W, C]`."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


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
