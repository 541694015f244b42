"""Layers of first-order passes against the same layers on operators that can be differentiated twice."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from generator.layers import EqualizedConv2d, EqualizedLinear
from generator.ops.trained_layer import Tail, first_order_pass, trained_linear
from generator.stylegan2.layers import ModulatedConv2d, ToRGB
from generator.training.spectral import add_spectral_norm

pytestmark = pytest.mark.usefixtures("kernels")


def random(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    x = torch.randn(shape, dtype=dtype)
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def randomised(layer: nn.Module, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Return the layer with parameters that are all of size one, as in training."""
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer.to(dtype).to(memory_format=torch.channels_last)


def results(layer: nn.Module, call: Callable[[], Tensor], inputs: list[Tensor], once: bool) -> list[Tensor]:
    """Return the layer's result and the gradients of inputs and parameters, of some function of the result."""
    wanted = [*inputs, *layer.parameters()]
    with first_order_pass(once):
        y = call()
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
    return [y, *torch.autograd.grad((y * weights).sum(), wanted)]


def assert_alike(layer: nn.Module, call: Callable[[], Tensor], inputs: list[Tensor]) -> None:
    for fused, plain in zip(*(results(layer, call, inputs, once) for once in (True, False)), strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("act", ["lrelu", "linear", "tanh"])
@pytest.mark.parametrize("bias", [0.5, None])
def test_dense(act: str, bias: float | None) -> None:
    layer = randomised(EqualizedLinear(6, 5, bias=bias, activation=act, lr_multiplier=0.1))
    x = random(4, 6).requires_grad_()
    assert_alike(layer, lambda: layer(x), [x])


@pytest.mark.parametrize("channels", [1, 3, 20])
@pytest.mark.parametrize(
    ("kernel", "settings"),
    [
        (3, {"activation": "lrelu"}),
        (3, {"activation": "lrelu", "down": 2, "conv_clamp": 0.8}),
        (3, {"activation": "lrelu", "up": 2}),
        (1, {"activation": "lrelu"}),
        (1, {"bias": False, "down": 2}),
        (1, {"bias": False, "up": 2}),
        (3, {"activation": "tanh", "weight_gain": 1.5, "resample_filter": (1, 2, 1), "down": 2}),
    ],
)
def test_convolution(channels: int, kernel: int, settings: dict[str, object]) -> None:
    layer = randomised(EqualizedConv2d(channels, 17, kernel, **settings))  # type: ignore[arg-type]
    x = random(3, channels, 6, 6).requires_grad_()
    assert_alike(layer, lambda: layer(x, gain=0.7), [x])


@pytest.mark.parametrize("noise", ["each", "shared", "none"])
@pytest.mark.parametrize("settings", [{}, {"up": 2}, {"demodulate": False}, {"conv_clamp": 0.7, "up": 2}])
def test_modulated_convolution(settings: dict[str, object], noise: str) -> None:
    layer = randomised(ModulatedConv2d(5, 18, 4, (8, 8), activation="lrelu", **settings))  # type: ignore[arg-type]
    side = 8 * int(str(settings.get("up", 1)))
    maps = {"each": random(3, 1, side, side), "shared": random(1, 1, side, side), "none": None}[noise]
    x, w = random(3, 5, 8, 8).requires_grad_(), random(3, 4).requires_grad_()
    if maps is None:
        layer.noise_strength.requires_grad_(False)  # type: ignore[union-attr]
        del layer.noise_strength
    assert_alike(layer, lambda: layer(x, w, maps, gain=0.8), [x, w])


@pytest.mark.parametrize("clamp", [None, 0.5])
def test_to_rgb(clamp: float | None) -> None:
    layer = randomised(ToRGB(6, 3, 4, clamp))
    x, w = random(3, 6, 5, 5).requires_grad_(), random(3, 4).requires_grad_()
    assert_alike(layer, lambda: layer(x, w), [x, w])


def test_weights_under_spectral_norm_get_their_gradients() -> None:
    layer = nn.Sequential(EqualizedConv2d(3, 8, 3, activation="lrelu"))
    add_spectral_norm(layer)
    layer.double()
    x = random(2, 3, 6, 6).requires_grad_()
    assert_alike(layer, lambda: layer(x), [x])


def test_a_second_derivative_is_an_error() -> None:
    x, weight, bias = random(2, 3).requires_grad_(), random(4, 3).requires_grad_(), random(4).requires_grad_()

    def call(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return trained_linear(x, weight, bias, 0.5, Tail(0.3, "lrelu", 1.4))

    assert gradcheck(call, (x, weight, bias))
    with pytest.raises(RuntimeError, match="a first derivative only"):
        torch.autograd.grad(call(x, weight, bias).sum(), x, create_graph=True)


def test_half_precision_maps_are_near() -> None:
    layer = randomised(ModulatedConv2d(16, 32, 8, (8, 8), up=2), torch.float32)
    x, w = random(4, 16, 8, 8, dtype=torch.float32), random(4, 8, dtype=torch.float32)
    maps = random(4, 1, 16, 16, dtype=torch.float32)
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        inputs = [x.to(dtype).requires_grad_(), w.clone().requires_grad_()]
        found.append(results(layer, lambda: layer(*inputs, maps), inputs, True))  # noqa: B023
    for exact, half, parameter in zip(*found, [found[0][0], x, w, *layer.parameters()], strict=True):
        is_map = parameter.ndim == 4 and parameter is not layer.weight
        assert half.dtype == (torch.bfloat16 if is_map else torch.float32)
        torch.testing.assert_close(half.float(), exact, rtol=0.05, atol=0.05 * float(exact.detach().abs().max()))
