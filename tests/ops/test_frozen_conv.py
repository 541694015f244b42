import pytest
import torch
from torch.nn import functional

from generator.ops import frozen_conv
from generator.ops.frozen_conv import FrozenConv2d

SHAPES = [(1, 512, 64, 2), (1, 8, 5, 7), (3, 4, 6, 9), (2, 3, 64, 32)]


def reference(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, up: int, padding: int, relu: bool):
    if up == 1:
        y = functional.conv2d(x, weight, bias, padding=padding)
    else:
        y = functional.conv_transpose2d(x, weight.transpose(0, 1), bias, stride=up, padding=padding)
    return y.relu() if relu else y


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("up", "padding", "kernel"), [(1, 1, 3), (2, 0, 3), (1, 0, 1), (1, 2, 5)])
@pytest.mark.parametrize("relu", [False, True])
def test_equals_the_ordinary_convolution(
    shape: tuple[int, int, int, int],
    up: int,
    padding: int,
    kernel: int,
    relu: bool,
    packing: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frozen_conv, "_PACKING", packing and frozen_conv._PACKING)
    n, i, o, size = shape
    torch.manual_seed(0)
    weight = torch.randn([o, i, kernel, kernel]) / (i * kernel**2) ** 0.5
    bias = torch.randn([o]) if relu else None
    convolution = FrozenConv2d(weight, bias, padding=padding, up=up, relu=relu)
    for extra in (0, 1, 0):  # another size, and back
        x = torch.randn([n, i, size + kernel + extra, size + kernel], requires_grad=True)
        y = convolution(x)
        expected = reference(x, weight, bias, up, padding, relu)
        torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-4)
        dy = torch.randn_like(y)
        (dx,) = torch.autograd.grad(y, x, dy)
        (expected_dx,) = torch.autograd.grad(expected, x, dy)
        torch.testing.assert_close(dx, expected_dx, atol=1e-5, rtol=1e-4)


def test_other_types_take_the_ordinary_way() -> None:
    weight = torch.randn([2, 3, 3, 3])
    x = torch.randn([1, 3, 4, 4], dtype=torch.float64)
    torch.testing.assert_close(FrozenConv2d(weight, padding=1)(x), functional.conv2d(x, weight.double(), padding=1))
    assert FrozenConv2d(weight, padding=1)(torch.zeros([0, 3, 4, 4])).shape == (0, 2, 4, 4)


def test_a_second_derivative_is_refused() -> None:
    if not frozen_conv._PACKING:
        pytest.skip("torch has no packed convolutions here")
    x = torch.randn([1, 3, 4, 4], requires_grad=True)
    y = FrozenConv2d(torch.randn([2, 3, 3, 3]), padding=1)(x)
    (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dx.sum().backward()  # type: ignore[no-untyped-call]
