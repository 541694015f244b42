"""What augmentation does to images, each transform as a matrix or a map that is differentiable twice in the image.

Matrices are float64, one for each image. Those of the plane act on (x, y, 1) in pixels from the centre of the image,
x to the right and y downwards; those of colour on (r, g, b, 1) with values in [-1, 1].

References: Karras et al. 2020, Training Generative Adversarial Networks with Limited Data, appendix B; Daubechies
1992, chapter 6 (the least asymmetric wavelets sym2 and sym6).
"""

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from generator.ops.affine_sample import affine_sample
from generator.ops.upfirdn2d import setup_filter, upfirdn2d

__all__ = [
    "BANDS",
    "BAND_POWER",
    "amplify_bands",
    "blur",
    "brightness",
    "contrast",
    "cut_out",
    "hue",
    "luma_flip",
    "recolour",
    "rotation",
    "saturation",
    "scaling",
    "translation",
    "warp",
]

_SYM2 = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)
_SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
_REACH = len(_SYM6) // 4
"""How many pixels the filter reaches to each side at the images' own resolution."""
_ASIDE = sum(k * tap for k, tap in enumerate(_SYM6)) / sum(_SYM6) - (len(_SYM6) - 1) / 2
"""How far the filter's centre of mass is from the middle of its taps, which no orthogonal filter has it in."""

BAND_POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)
"""Share of a usual image's power in each band of frequencies, the lowest first."""

BANDS = len(BAND_POWER)


def _plane(rows: list[list[Tensor]]) -> Tensor:
    """Return matrices `[N, rows, columns]` of entries `[N]`."""
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def scaling(x: Tensor, y: Tensor) -> Tensor:
    """Return matrices `[N, 3, 3]` that scale by `x` and `y`, each `[N]`; -1 mirrors."""
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _plane([[x, zero, zero], [zero, y, zero], [zero, zero, one]])


def rotation(angle: Tensor) -> Tensor:
    """Return matrices `[N, 3, 3]` that rotate by `angle` `[N]` in radians, from x towards y: clockwise as seen."""
    zero, one, sin, cos = torch.zeros_like(angle), torch.ones_like(angle), torch.sin(angle), torch.cos(angle)
    return _plane([[cos, -sin, zero], [sin, cos, zero], [zero, zero, one]])


def translation(x: Tensor, y: Tensor) -> Tensor:
    """Return matrices `[N, 3, 3]` that move by `x` and `y` pixels, each `[N]`."""
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _plane([[one, zero, x], [zero, one, y], [zero, zero, one]])


_GREY = torch.full([3], 1 / math.sqrt(3), dtype=torch.float64)
"""Direction of the colours without a hue."""


def _colour(linear: Tensor, added: Tensor | None = None) -> Tensor:
    """Return matrices `[N, 4, 4]` of a linear part `[N, 3, 3]` and of what is added to all channels, `[N]`."""
    result = torch.eye(4, dtype=torch.float64).repeat(len(linear), 1, 1)
    result[:, :3, :3] = linear
    if added is not None:
        result[:, :3, 3] = added[:, None]
    return result


def brightness(amount: Tensor) -> Tensor:
    """Return matrices `[N, 4, 4]` that add `amount` `[N]` to all channels."""
    return _colour(torch.eye(3, dtype=torch.float64).expand(len(amount), 3, 3), amount)


def contrast(factor: Tensor) -> Tensor:
    """Return matrices `[N, 4, 4]` that multiply all channels by `factor` `[N]`."""
    return _colour(factor[:, None, None] * torch.eye(3, dtype=torch.float64))


def luma_flip(flipped: Tensor) -> Tensor:
    """Return matrices `[N, 4, 4]` that turn light into dark and keep the hue, where `flipped` `[N]` is 1 and not 0.

    It is the reflection in the plane through black's middle that is perpendicular to the grey axis.
    """
    along = torch.outer(_GREY, _GREY)
    return _colour(torch.eye(3, dtype=torch.float64) - 2 * flipped[:, None, None] * along)


def hue(angle: Tensor) -> Tensor:
    """Return matrices `[N, 4, 4]` that rotate colours around the grey axis by `angle` `[N]` in radians."""
    x, y, z = _GREY.tolist()
    across = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    along = torch.outer(_GREY, _GREY)
    sin, cos = torch.sin(angle)[:, None, None], torch.cos(angle)[:, None, None]
    return _colour(along + cos * (torch.eye(3, dtype=torch.float64) - along) + sin * across)


def saturation(factor: Tensor) -> Tensor:
    """Return matrices `[N, 4, 4]` that multiply the distance of colours from the grey axis by `factor` `[N]`."""
    along = torch.outer(_GREY, _GREY)
    return _colour(along + factor[:, None, None] * (torch.eye(3, dtype=torch.float64) - along))


def warp(images: Tensor, inverse: Tensor) -> Tensor:
    """Return images moved in the plane, through twice the resolution so that nothing is blurred or aliased.

    Beyond its edges an image is mirrored, as far as the map needs it and at most once.

    Args:
        images: Images `[N, C, S, S]`.
        inverse: For each image the map from a pixel of the result to its place in the image, `[N, 3, 3]`.

    Returns:
        Images `[N, C, S, S]`.
    """
    side = images.shape[-1]
    # What the corners of the result need, and around them what the filter needs on its way down and on its way up.
    half = side / 2 + _REACH
    corners = torch.tensor(
        [[x, y, 1.0] for x in (-half, half) for y in (-half, half)], dtype=torch.float64, device=inverse.device
    )
    furthest = float((inverse.to(torch.float64)[:, :2] @ corners.T).abs().max())
    margin = min(max(math.ceil(furthest - side / 2) + _REACH + 1, 0), side - 1)
    taps = setup_filter(_SYM6, separable=True).to(images.device)
    x = functional.pad(images, [margin] * 4, mode="reflect")
    # The filter is orthogonal: up by 2 and down again is the image itself. In between the image lies a little aside,
    # and its centre is what the map has to be around.
    x = upfirdn2d(x, taps, up=2, padding=(6, 5, 6, 5), gain=4)
    aside = torch.full([len(images)], _ASIDE, dtype=inverse.dtype, device=inverse.device)
    doubled = inverse.clone()
    doubled[:, :2, 2] *= 2
    doubled = translation(aside, aside) @ doubled @ translation(-aside, -aside)
    x = affine_sample(x, doubled[:, :2], (2 * (side + 2 * _REACH),) * 2)
    crop = 5 - 2 * _REACH
    return upfirdn2d(x, taps, down=2, padding=(crop,) * 4, flip_filter=True)


def recolour(images: Tensor, matrices: Tensor) -> Tensor:
    """Return images with other colours.

    Args:
        images: Images `[N, C, H, W]` of 1 (grey), 3 (RGB) or 4 channels (RGBA, of which alpha stays as it is).
        matrices: Matrices `[N, 4, 4]`; grey images take the mean of their three rows.

    Returns:
        Images `[N, C, H, W]`.
    """
    matrices = matrices.to(images)
    if images.shape[1] == 1:
        row = matrices[:, :3].mean(dim=1)
        return images * row[:, :3].sum(dim=1)[:, None, None, None] + row[:, 3][:, None, None, None]
    colours = images[:, :3]
    mixed = torch.baddbmm(matrices[:, :3, 3:], matrices[:, :3, :3], colours.flatten(2)).reshape(colours.shape)
    return mixed if images.shape[1] == 3 else torch.cat([mixed, images[:, 3:]], dim=1)


def _spread(taps: Tensor, factor: int) -> Tensor:
    """Return taps with factor - 1 zeros between each two."""
    spread = taps.new_zeros([factor * (len(taps) - 1) + 1])
    spread[::factor] = taps
    return spread


def _convolve(one: Tensor, other: Tensor) -> Tensor:
    return functional.conv1d(one[None, None], other.flip(0)[None, None], padding=len(other) - 1)[0, 0]


@lru_cache(maxsize=1)
def _bank() -> Tensor:
    """Return filters `[BANDS, taps]` that cut a signal into octaves, the lowest first; they sum to the identity."""
    low = torch.tensor(_SYM2, dtype=torch.float64)
    high = low * torch.tensor([1, -1, 1, -1])
    # An orthogonal filter and the same one turned round let half of the frequencies pass, without a delay.
    passes, stops = (_convolve(f, f.flip(0)) / 2 for f in (low, high))
    filters, below = [], torch.ones(1, dtype=torch.float64)
    for octave in range(BANDS - 1):
        filters.append(_convolve(below, _spread(stops, 1 << octave)))
        below = _convolve(below, _spread(passes, 1 << octave))
    filters.append(below)
    length = len(below)
    return torch.stack([functional.pad(f, [(length - len(f)) // 2] * 2) for f in reversed(filters)])


def amplify_bands(images: Tensor, gains: Tensor) -> Tensor:
    """Return images with some frequencies stronger and others weaker; beyond its edges an image is mirrored.

    Args:
        images: Images `[N, C, H, W]`.
        gains: Factor of each band of each image, the lowest frequencies first, `[N, BANDS]`.

    Returns:
        Images `[N, C, H, W]`.
    """
    count, channels, height, _ = images.shape
    taps = (gains.to(torch.float64).cpu() @ _bank()).to(images)
    taps = taps.repeat_interleave(channels, dim=0)
    reach = taps.shape[1] // 2
    x = _mirrored(_mirrored(images, 2, reach), 3, reach).reshape(1, count * channels, height + 2 * reach, -1)
    x = functional.conv2d(x, taps[:, None, :, None], groups=count * channels)
    x = functional.conv2d(x, taps[:, None, None, :], groups=count * channels)
    return x.reshape(images.shape)


def _mirrored(images: Tensor, dim: int, margin: int) -> Tensor:
    """Return images with a margin of mirrored pixels along a dimension, however small they are."""
    last = images.shape[dim] - 1
    place = torch.arange(-margin, last + 1 + margin, device=images.device).abs() % (2 * last)
    return images.index_select(dim, torch.minimum(place, 2 * last - place))


def cut_out(images: Tensor, centres: Tensor) -> Tensor:
    """Return images with a square of half their side set to 0.

    Args:
        images: Images `[N, C, H, W]`.
        centres: Centre (x, y) of the square in each image, as a share of its side in [0, 1], `[N, 2]`.

    Returns:
        Images `[N, C, H, W]`.
    """
    height, width = images.shape[2:]
    centres = centres.to(images.device, torch.float64)
    places = ((torch.arange(size, device=images.device) + 0.5) / size for size in (width, height))
    x, y = ((place[None] - centre[:, None]).abs() < 0.25 for place, centre in zip(places, centres.T, strict=True))
    kept = ~(y[:, None, :, None] & x[:, None, None, :])
    cut: Tensor = images * kept.to(images.dtype)
    return cut


def blur(images: Tensor, sigma: float) -> Tensor:
    """Return images `[N, C, S, S]` convolved with the Gaussian 2^-(x / sigma)^2, cut off at 3 sigma; 0 outside.

    Args:
        images: The images.
        sigma: Where the Gaussian has fallen to a half, in pixels; below a third of one nothing happens.

    Reference: Karras et al. 2021, appendix G, and its public code, of which this is the Gaussian.
    """
    reach = math.floor(3 * sigma)
    if reach == 0:
        return images
    taps = torch.exp2(-(torch.arange(-reach, reach + 1, dtype=torch.float32) / sigma).square())
    return upfirdn2d(images, setup_filter(taps, separable=True).to(images.device), padding=reach)
