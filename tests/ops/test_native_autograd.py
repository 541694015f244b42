"""The operators with native kernels in place: derivatives, what torch checks of an operator, and golden arrays."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from generator.ops.bias_act import bias_act
from generator.ops.conv_tail import conv_tail
from generator.ops.frozen_conv import FrozenConv2d
from generator.ops.lpips_tail import lpips_tail, normalise_features
from generator.ops.modulate import modulate
from generator.ops.noise_maps import noise_penalty
from generator.ops.normalised_tail import FrozenNormalisedLayer
from generator.ops.upfirdn2d import setup_filter, upfirdn2d
from generator.settings import ACTIVATIONS
from tests.golden_data import Arrays

pytestmark = pytest.mark.usefixtures("kernels")

FILTER = setup_filter([1, 3, 3, 1])


def leaf(*shape: int, channels_last: bool = False) -> Tensor:
    x = torch.randn(shape, dtype=torch.float64)
    return (x.contiguous(memory_format=torch.channels_last) if channels_last else x).requires_grad_()


def fixed(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (1, 2), (3, 2)])
def test_upfirdn2d_is_differentiable_twice(up: int, down: int, channels_last: bool) -> None:
    x = leaf(2, 3, 5, 6, channels_last=channels_last)

    def call(x: Tensor) -> Tensor:
        return upfirdn2d(x, FILTER, up=up, down=down, padding=[3, 2, 1, 4], gain=2)

    assert gradcheck(call, (x,))
    assert gradgradcheck(call, (x,))


@pytest.mark.parametrize("clamp", [None, 0.9])
@pytest.mark.parametrize("act", ACTIVATIONS)
def test_bias_act_is_differentiable_twice(act: str, clamp: float | None) -> None:
    def call(x: Tensor, b: Tensor) -> Tensor:
        return bias_act(x, b, act=act, clamp=clamp)

    inputs = (leaf(2, 3, 4, 5, channels_last=True), leaf(3))
    assert gradcheck(call, inputs)
    assert gradgradcheck(call, inputs)


@pytest.mark.parametrize("channels_last", [False, True])
def test_modulate_is_differentiable_twice(channels_last: bool) -> None:
    inputs = (leaf(2, 3, 4, 5, channels_last=channels_last), leaf(2, 3))
    assert gradcheck(modulate, inputs)
    assert gradgradcheck(modulate, inputs)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("shared_noise", [False, True])
@pytest.mark.parametrize("act", ["linear", "lrelu", "swish"])
def test_conv_tail_is_differentiable_once(act: str, shared_noise: bool, channels_last: bool) -> None:
    b = fixed(3)

    def call(x: Tensor, scale: Tensor, noise: Tensor) -> Tensor:
        return conv_tail(x, scale, noise, torch.tensor(0.7).double(), b, act=act, clamp=1.5)

    noise = leaf(1 if shared_noise else 2, 1, 4, 5)
    inputs = (leaf(2, 3, 4, 5, channels_last=channels_last), leaf(2, 3), noise)
    assert gradcheck(call, inputs)
    with pytest.raises(RuntimeError, match="conv_tail has a first derivative only"):
        gradgradcheck(call, inputs)


@pytest.mark.parametrize("channels_last", [False, True])
def test_lpips_tail_is_differentiable_once(channels_last: bool) -> None:
    target, lin = normalise_features(fixed(1, 3, 4, 5)), fixed(3).abs()

    def call(x: Tensor) -> Tensor:
        return lpips_tail(x, target, lin)

    x = leaf(2, 3, 4, 5, channels_last=channels_last)
    assert gradcheck(call, (x,))
    with pytest.raises(RuntimeError, match="lpips_tail has a first derivative only"):
        gradgradcheck(call, (x,))


def test_noise_penalty_is_differentiable_once() -> None:
    def call(maps: Tensor) -> Tensor:
        return noise_penalty(maps, 1.5)

    maps = leaf(2, 2, 19, 17)
    assert gradcheck(call, (maps,))
    with pytest.raises(RuntimeError, match="noise_penalty has a first derivative only"):
        gradgradcheck(call, (maps,))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("shared_noise", [False, True])
@pytest.mark.parametrize("act", ["linear", "lrelu", "swish"])
def test_a_normalised_layer_is_differentiable_once(act: str, shared_noise: bool, channels_last: bool) -> None:
    convolution = FrozenConv2d(fixed(5, 3, 4, 4), padding=1, up=2)
    layer = FrozenNormalisedLayer(convolution, FILTER, fixed(5), fixed(5), act, 1e-8)
    x, noise = leaf(2, 3, 4, 5, channels_last=channels_last), leaf(1 if shared_noise else 2, 1, 8, 10)
    assert gradcheck(layer, (x, leaf(2, 10), noise))
    assert gradcheck(lambda x: layer(x, None, None), (x,))
    (dx,) = torch.autograd.grad(layer(x, None, None).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dx.sum().backward()


def _examples() -> dict[str, tuple[Any, ...]]:
    x, f = torch.randn(2, 3, 6, 6, requires_grad=True), FILTER
    y = torch.randn(2, 3, 6, 6).contiguous(memory_format=torch.channels_last)
    styles = torch.rand(2, 3, requires_grad=True)
    tail = (styles, torch.randn(1, 1, 6, 6), torch.tensor(0.5), torch.randn(3), 2, 0.2, 1.4, -1.0)
    normal = (torch.randn(1, 1, 6, 6), torch.randn(3), torch.randn(3), torch.rand(2, 6))
    return {
        "upfirdn2d": (x, f, 2, 2, 1, 1, 2, 1, 2, 1, False, 4.0),
        "bias_act": (x, torch.randn(3, requires_grad=True), 1, 3, 0.0, 1.0, 0.5),
        "bias_act_backward": (y, x, torch.randn(3), 1, 3, 0.0, 1.0, 0.5),
        "bias_act_second": (y, y, x.detach(), torch.randn(3), 1, 3, 0.0, 1.0, 0.5),
        "modulate": (x, styles),
        "modulate_backward": (y.clone().requires_grad_(), x, styles),
        "conv_tail": (x, *tail),
        "conv_tail_backward": (y, x.detach(), tail[0].detach(), *tail[1:], True, True),
        "layer_tail": (x.detach(), styles.detach(), 0.5, *tail[1:]),
        "layer_tail_backward": (y, x.detach(), styles.detach(), 0.5, *tail[1:]),
        "normalised_tail": (x.detach(), *normal, 1e-8, *tail[4:]),
        "normalised_tail_backward": (y, x.detach(), torch.rand(2, 2, 3), *normal, *tail[4:], True),
        "pixel_product": (torch.rand(2, 5, 3), torch.rand(2, 4, 3)),
        "pixel_product_backward": (torch.rand(2, 5, 4), torch.rand(2, 5, 3), torch.rand(2, 4, 3)),
        "demodulation": (styles.detach(), torch.rand(3, 5), 1e-8),
        "demodulation_backward": (torch.rand(2, 5), *[styles.detach()] * 2, torch.rand(2, 5), torch.rand(5, 3)),
        "noise_penalty": (x, 2.0),
        "noise_normalise_": (x.detach().clone(),),
        "noise_penalty_backward": (torch.rand(2), y.contiguous(), x.detach()),
        "lpips_tail": (x, y[:1], torch.rand(3)),
        "lpips_tail_backward": (torch.rand(2), x.detach(), y[:1], torch.rand(3)),
    }


@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf"
)  # torch looks at its own copies
@pytest.mark.parametrize("name", _examples())
def test_torch_finds_nothing_wrong_with_the_operator(name: str) -> None:
    # Schema, the function that tells the result's shape and strides, and the derivatives, traced and not.
    torch.library.opcheck(getattr(torch.ops.invert, name).default, _examples()[name])


def _close(actual: Tensor, expected: Tensor, tolerance: float) -> bool:
    return bool((actual.detach() - expected).abs().max() <= tolerance * expected.abs().max().clamp(min=1))


def test_golden_upfirdn2d() -> None:
    golden = Arrays("upfirdn2d")
    for i, case in enumerate(golden.json("cases")):
        x = golden[f"{i}.x"].requires_grad_()
        rest = {key: case[key] for key in ("up", "down", "padding", "flip_filter", "gain")}
        y = upfirdn2d(x, golden.optional(f"{i}.f"), **rest)
        (dx,) = torch.autograd.grad(y, x, golden[f"{i}.dy"])
        assert _close(y, golden[f"{i}.y"], 1e-6)
        assert _close(dx, golden[f"{i}.dx"], 1e-6)


def test_golden_bias_act() -> None:
    golden = Arrays("bias_act")
    for i, case in enumerate(golden.json("cases")):
        x, b, dy = (golden[f"{i}.{key}"].requires_grad_() for key in ("x", "b", "dy"))
        y = bias_act(x, b, act=case["act"], gain=case["gain"], clamp=case["clamp"])
        dx, db = torch.autograd.grad(y, [x, b], dy, create_graph=True)
        d_dy, ddx = torch.autograd.grad((dx * golden[f"{i}.v"]).sum(), [dy, x], allow_unused=True)
        ddx = torch.zeros_like(x) if ddx is None else ddx
        for actual, key in ((y, "y"), (dx, "dx"), (db, "db"), (d_dy, "d_dy"), (ddx, "ddx")):
            assert _close(actual, golden[f"{i}.{key}"], 1e-9), (case, key)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_conv_tail_meets_the_plain_operations(dtype: torch.dtype) -> None:
    x = torch.randn(2, 20, 9, 9).to(dtype).requires_grad_()
    scale, noise = torch.rand(2, 20, requires_grad=True), torch.randn(2, 1, 9, 9, requires_grad=True)
    strength, b = torch.tensor(0.3), torch.randn(20)
    y = conv_tail(x, scale, noise, strength, b, act="lrelu", clamp=2.0)
    plain = bias_act(x.float() * scale[:, :, None, None] + noise * strength, b, act="lrelu", clamp=2.0)
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    assert _close(y.float(), plain, tolerance)
    dy = torch.randn_like(plain)
    actual = torch.autograd.grad(y, [x, scale, noise], dy.to(dtype))
    expected = torch.autograd.grad(plain, [x, scale, noise], dy)
    for a, e in zip(actual, expected, strict=True):
        assert _close(a.float(), e.float(), tolerance)
