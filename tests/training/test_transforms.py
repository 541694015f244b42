"""The transforms of augmentation: each one's matrix, what it does to an image, and both derivatives."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from generator.training import transforms as t

DOUBLE = torch.float64
HALF, THIRD = math.sqrt(0.5), 1 / 3


def of(*values: float) -> Tensor:
    return torch.tensor(values, dtype=DOUBLE)


GOLDEN = {
    "x-flip": (t.scaling(of(-1), of(1)), [[-1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    "scale": (t.scaling(of(2), of(0.5)), [[2, 0, 0], [0, 0.5, 0], [0, 0, 1]]),
    "quarter turn": (t.rotation(of(math.pi / 2)), [[0, -1, 0], [1, 0, 0], [0, 0, 1]]),
    "eighth of a turn": (t.rotation(of(math.pi / 4)), [[HALF, -HALF, 0], [HALF, HALF, 0], [0, 0, 1]]),
    "translation": (t.translation(of(3), of(-1.5)), [[1, 0, 3], [0, 1, -1.5], [0, 0, 1]]),
    "brightness": (t.brightness(of(0.25)), [[1, 0, 0, 0.25], [0, 1, 0, 0.25], [0, 0, 1, 0.25], [0, 0, 0, 1]]),
    "contrast": (t.contrast(of(1.5)), [[1.5, 0, 0, 0], [0, 1.5, 0, 0], [0, 0, 1.5, 0], [0, 0, 0, 1]]),
    "luma flip": (
        t.luma_flip(of(1)),
        [[THIRD, -2 / 3, -2 / 3, 0], [-2 / 3, THIRD, -2 / 3, 0], [-2 / 3, -2 / 3, THIRD, 0], [0, 0, 0, 1]],
    ),
    "no luma flip": (t.luma_flip(of(0)), torch.eye(4).tolist()),
    # a third of a turn around the grey axis takes red to green, green to blue and blue to red
    "hue": (t.hue(of(2 * math.pi / 3)), [[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]),
    "no saturation": (t.saturation(of(0)), [[THIRD] * 3 + [0]] * 3 + [[0, 0, 0, 1]]),
    "saturation": (
        t.saturation(of(4)),
        [[3, -1, -1, 0], [-1, 3, -1, 0], [-1, -1, 3, 0], [0, 0, 0, 1]],
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_matrix(name: str) -> None:
    matrix, expected = GOLDEN[name]
    torch.testing.assert_close(matrix[0], torch.tensor(expected, dtype=DOUBLE), rtol=0, atol=1e-12)


def smooth(side: int = 16, channels: int = 3) -> Tensor:
    """Return an image without high frequencies, which no two places or channels have alike."""
    noise = torch.randn([1, channels, 5, 5], generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    return torch.nn.functional.interpolate(noise, size=[side, side], mode="bicubic", align_corners=False)


def test_nothing_is_lost_on_the_way_through_twice_the_resolution() -> None:
    """Also of an image that is all high frequencies; and to the sides, what is beyond an edge is mirrored."""
    x = torch.randn([2, 3, 8, 8], dtype=DOUBLE)
    torch.testing.assert_close(t.warp(x, torch.eye(3, dtype=DOUBLE).repeat(2, 1, 1)), x, rtol=0, atol=1e-6)
    moved = t.warp(x, t.translation(of(2, 2), of(0, 0)))
    expected = torch.cat([x[..., 2:], x[..., [6, 5]]], dim=3)
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-6)


def test_warps_of_whole_pixels() -> None:
    """The filter is not quite symmetric, so that mirrored and turned images come out within a little."""
    x = smooth()
    for matrix, expected in (
        (t.scaling(of(-1), of(1)), x.flip(3)),
        (t.rotation(of(math.pi)), x.flip([2, 3])),
        # the pixel of the result at the right comes from below
        (t.rotation(of(math.pi / 2)), x.rot90(1, [2, 3])),
    ):
        assert float((t.warp(x, matrix) - expected).abs().max()) < 0.03 * float(x.abs().max())


def test_colours() -> None:
    x = torch.rand([2, 3, 4, 4], dtype=DOUBLE) * 2 - 1
    matrices = t.brightness(of(0.5, 0)) @ t.contrast(of(2, 1)) @ t.hue(of(0, 2 * math.pi / 3))
    changed = t.recolour(x, matrices)
    torch.testing.assert_close(changed[0], 2 * x[0] + 0.5)
    torch.testing.assert_close(changed[1], x[1][[2, 0, 1]])
    grey = t.recolour(x[:, :1], t.brightness(of(0.5, 0)) @ t.luma_flip(of(0, 1)))
    torch.testing.assert_close(grey, torch.stack([x[0, :1] + 0.5, -x[1, :1]]))
    with_alpha = torch.cat([x, torch.rand([2, 1, 4, 4], dtype=DOUBLE)], dim=1)
    torch.testing.assert_close(t.recolour(with_alpha, matrices), torch.cat([changed, with_alpha[:, 3:]], dim=1))


def test_bands_sum_to_the_image_and_hold_their_frequencies() -> None:
    x = smooth(32)
    torch.testing.assert_close(t.amplify_bands(x, torch.ones([1, t.BANDS])), x)
    torch.testing.assert_close(t.amplify_bands(x, torch.full([1, t.BANDS], 2.0)), 4 * x)  # once along each axis
    flat, stripes = torch.ones([1, 1, 32, 32], dtype=DOUBLE), torch.ones([1, 1, 32, 32], dtype=DOUBLE)
    stripes[..., ::2] = -1
    lowest, highest = of(1, 0, 0, 0)[None], of(0, 0, 0, 1)[None]
    torch.testing.assert_close(t.amplify_bands(flat, lowest), flat)
    torch.testing.assert_close(t.amplify_bands(flat, highest), 0 * flat)
    torch.testing.assert_close(t.amplify_bands(stripes, highest + lowest), stripes)
    torch.testing.assert_close(t.amplify_bands(stripes, lowest), 0 * stripes)
    torch.testing.assert_close(t.amplify_bands(stripes, 1 + highest), 2 * stripes)


def test_cut_out() -> None:
    x = torch.ones([2, 3, 8, 8])
    cut = t.cut_out(x, of(0.5, 0.5, 1.0, 0.0).reshape(2, 2))
    expected = x.clone()
    expected[0, :, 2:6, 2:6] = 0
    expected[1, :, :2, 6:] = 0
    assert torch.equal(cut, expected)


MAPS: dict[str, Callable[[Tensor], Tensor]] = {
    "warp": lambda x: t.warp(x, t.rotation(of(0.5, -2.0)) @ t.scaling(of(0.7, 1.5), of(1.2, 1.0))),
    "recolour": lambda x: t.recolour(x, t.hue(of(0.5, -2.0)) @ t.brightness(of(0.1, 0.3))),
    "recolour grey": lambda x: t.recolour(x[:, :1], t.contrast(of(0.5, -2.0)) @ t.brightness(of(0.1, 0.3))),
    "amplify bands": lambda x: t.amplify_bands(x, of(1, 2, 0.5, 0.1, 0.3, 0.7, 1, 2).reshape(2, 4)),
    "cut out": lambda x: t.cut_out(x, of(0.5, 0.5, 1.0, 0.0).reshape(2, 2)),
}


@pytest.mark.parametrize("name", MAPS)
def test_differentiable_twice(name: str) -> None:
    x = torch.rand([2, 3, 4, 4], dtype=DOUBLE, requires_grad=True)

    def curved(x: Tensor) -> Tensor:
        return MAPS[name](x).square()

    assert gradcheck(curved, (x,), fast_mode=True)
    assert gradgradcheck(curved, (x,), fast_mode=True)
