"""Convolution with the resampling taken into its kernel: the same linear map as the two steps."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from generator.ops.box_conv import averaging_kernel, conv_average2d, upsample_conv2d, upsampling_kernel


def repeated(x: Tensor, weight: Tensor) -> Tensor:
    """Nearest-neighbour upsampling, then the convolution of the layers without upsampling."""
    x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return functional.conv2d(x, weight, padding=weight.shape[-1] // 2)


def fused(x: Tensor, weight: Tensor) -> Tensor:
    """TensorFlow's form from 128 px up: the kernel padded by one, the four shifted copies summed, transposed."""
    padded = functional.pad(weight, [1, 1, 1, 1])
    summed = padded[..., 1:, 1:] + padded[..., :-1, 1:] + padded[..., 1:, :-1] + padded[..., :-1, :-1]
    return functional.conv_transpose2d(x, summed.transpose(0, 1), stride=2, padding=1)


def case(kernel: int = 3) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(kernel)
    x = torch.randn([2, 3, 6, 8], generator=rng, dtype=torch.float64)
    return x, torch.randn([4, 3, kernel, kernel], generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_upsampling(kernel: int) -> None:
    x, weight = case(kernel)
    torch.testing.assert_close(upsample_conv2d(x, upsampling_kernel(weight)), repeated(x, weight))


def test_both_forms_of_tensorflow_are_one_map_with_the_kernel_turned() -> None:
    """A transposed convolution turns the kernel round; TensorFlow left it to the weights to get used to that."""
    x, weight = case()
    torch.testing.assert_close(fused(x, weight.flip([2, 3])), repeated(x, weight))
    torch.testing.assert_close(fused(x, weight), upsample_conv2d(x, upsampling_kernel(weight.flip([2, 3]))))
    assert not torch.allclose(fused(x, weight), repeated(x, weight))


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_averaging(kernel: int) -> None:
    x, weight = case(kernel)
    expected = functional.avg_pool2d(functional.conv2d(x, weight, padding=kernel // 2), 2)
    torch.testing.assert_close(conv_average2d(x, averaging_kernel(weight)), expected)


@pytest.mark.parametrize("operator", ["up", "down"])
def test_gradients(operator: str) -> None:
    make, run = {
        "up": (upsampling_kernel, upsample_conv2d),
        "down": (averaging_kernel, conv_average2d),
    }[operator]
    x, weight = (value[:1, :2].clone().requires_grad_() for value in case())
    x = x[:, :, :4, :4].detach().requires_grad_()
    torch.autograd.gradcheck(lambda x, w: run(x, make(w)), (x, weight))
    torch.autograd.gradgradcheck(lambda x, w: run(x, make(w)), (x, weight))
