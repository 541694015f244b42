"""PSNR and SSIM, against their definitions."""

import numpy as np
import pytest

from invert.images.fidelity import fidelity
from tests.image_factory import image


def test_psnr_is_that_of_the_definition() -> None:
    first = image(seed=1)
    second = first.copy()
    second[0, 0, 0] ^= 1  # one level in one of 768 numbers
    assert fidelity(first, second).psnr == pytest.approx(10 * np.log10(255**2 * first.size))
    assert fidelity(first, first) == (100.0, 1.0)


def test_ssim_is_that_of_the_definition() -> None:
    """At one pixel far from the edges, with the weights of the window written out."""
    first, second = image(21, 21, 1, seed=1)[..., None], image(21, 21, 1, seed=2)[..., None]
    at = np.arange(-5, 6)
    weights = np.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    x, y = (one[5:16, 5:16, 0].astype(float) for one in (first, second))
    mx, my = (weights * x).sum(), (weights * y).sum()
    vx, vy = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum()
    both = (weights * (x - mx) * (y - my)).sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    expected = (2 * mx * my + c1) * (2 * both + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    middle = np.zeros([21, 21], bool)
    middle[10, 10] = True
    assert fidelity(first, second, middle).ssim == pytest.approx(expected)


def test_what_does_not_count_is_left_out() -> None:
    first, second = image(seed=1), image(seed=1)
    second[:, 8:] = 255 - second[:, 8:]
    left = np.zeros([16, 16], bool)
    left[:, :8] = True
    assert fidelity(first, second, left).psnr == 100
    assert fidelity(first, second).psnr < 20


def test_ssim_near_the_edges_is_that_of_mirrored_images() -> None:
    first, second = image(9, 12, 3, seed=1), image(9, 12, 3, seed=2)
    wide = [np.pad(one, [(5, 5), (5, 5), (0, 0)], "symmetric") for one in (first, second)]
    middle = np.zeros(wide[0].shape[:2], bool)
    middle[5:-5, 5:-5] = True
    assert fidelity(first, second).ssim == pytest.approx(fidelity(*wide, middle).ssim)
