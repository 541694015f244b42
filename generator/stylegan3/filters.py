"""The low-pass filters of StyleGAN3, from numpy alone: a network file's are compared with them before torch is there.

Reference: Karras et al. 2021, appendix C (Kaiser windows, radially symmetric jinc filters).
"""

import math

import numpy as np
from numpy.typing import NDArray

from generator.stylegan3.config import LayerPlan

__all__ = ["Taps", "down_filter", "jinc_filter", "up_filter"]

Taps = NDArray[np.float64]
"""Taps of a filter, one or two dimensions."""


def up_filter(layer: LayerPlan) -> Taps | None:
    """Return the filter of a layer's upsampling, `[taps]` of sum one; None where it has none."""
    signal = layer.entering
    return _low_pass(layer.up_taps, signal.cutoff, signal.half_width, layer.rate, radial=False)


def down_filter(layer: LayerPlan) -> Taps | None:
    """Return the filter of a layer's downsampling, `[taps]` or, radial, `[taps, taps]`, of sum one; None: none."""
    signal = layer.leaving
    return _low_pass(layer.down_taps, signal.cutoff, signal.half_width, layer.rate, radial=layer.radial)


def jinc_filter(taps: int, *, cutoff: float, half_width: float, rate: float) -> Taps:
    """Return a radially symmetric low-pass filter `[taps, taps]` of sum one; see `down_filter`."""
    found = _low_pass(taps, cutoff, half_width, rate, radial=True)
    return np.ones([1, 1]) if found is None else found


def _low_pass(taps: int, cutoff: float, half_width: float, rate: float, *, radial: bool) -> Taps | None:
    """Return a windowed low-pass filter.

    Args:
        taps: Its length.
        cutoff: Cutoff frequency, less than half of `rate`.
        half_width: Half the width of its transition band.
        rate: Sampling rate.
        radial: Whether it is a radially symmetric filter of two dimensions.
    """
    if taps == 1:
        return None
    x = (np.arange(taps) - (taps - 1) / 2) / rate
    window = np.kaiser(taps, _kaiser_beta(taps, 4 * half_width / rate))
    kernel: Taps = np.sinc(2 * cutoff * x) * window
    if radial:
        # The Fourier transform of a disc; at its centre it has the limit that J1(x) = x / 2 gives.
        r = np.hypot(x, x[:, None])
        away = np.where(r == 0, 1.0, r)
        jinc = np.where(r == 0, math.pi * cutoff**2, cutoff * _bessel_j1(2 * math.pi * cutoff * away) / away)
        kernel = jinc * np.outer(window, window)
    kernel /= kernel.sum()
    return kernel


def _kaiser_beta(taps: int, width: float) -> float:
    """Return the shape of the Kaiser window whose transition band is a share `width` of half the rate (Kaiser 1974)."""
    attenuation = 2.285 * (taps - 1) * math.pi * width + 7.95
    if attenuation > 50:
        return 0.1102 * (attenuation - 8.7)
    if attenuation > 21:
        return float(0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21))
    return 0.0


def _bessel_j1(x: Taps) -> Taps:
    """Return the Bessel function J1: the mean of cos(t - x sin t) over a period.

    The integrand is periodic and smooth, so that the trapezoidal rule is exact once there are more points than x.
    """
    points = 64 + 2 * math.ceil(float(x.max()))
    t = 2 * math.pi * np.arange(points) / points
    mean: Taps = np.cos(t - x[..., None] * np.sin(t)).mean(axis=-1)
    return mean
