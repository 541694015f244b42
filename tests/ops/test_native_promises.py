"""Same bits: whoever stands beside an image in the batch, wherever it lies in memory, on any number of threads."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from generator.ops._library import layout_of
from generator.ops.bias_act import activation_settings
from generator.ops.conv_tail import conv_tail
from generator.ops.layer_tail import layer_tail, layer_tail_backward
from generator.ops.lpips_tail import lpips_tail
from generator.ops.modulate import modulate
from generator.ops.noise_maps import noise_penalty, normalise_noise_
from generator.ops.normalised_tail import FrozenNormalisedLayer
from generator.ops.pixel_product import pixel_product, pixel_product_gradients
from generator.ops.upfirdn2d import setup_filter, upfirdn2d
from tests.ops.native_case import Case

pytestmark = pytest.mark.usefixtures("isa")

LAYOUTS = {"planes": torch.contiguous_format, "channels_last": torch.channels_last}
FILTER = setup_filter([1, 3, 3, 1])


def tail(x: Tensor) -> list[Tensor]:
    n, c, h, w = x.shape
    case = Case(7, x.dtype)
    scale = case.side(1, c).expand(n, c).contiguous().requires_grad_()
    noise = case.side(1, 1, h, w).expand(n, 1, h, w).contiguous().requires_grad_()
    x = x.detach().requires_grad_()
    y = conv_tail(x, scale, noise, case.side(), case.side(c), act="lrelu")
    return [y, *torch.autograd.grad(y, [x, scale, noise], y)]


def modulated(x: Tensor) -> list[Tensor]:
    n, c, _, _ = x.shape
    styles = Case(8, x.dtype).side(1, c).expand(n, c).contiguous().requires_grad_()
    x = x.detach().requires_grad_()
    y = modulate(x, styles)
    return [y, *torch.autograd.grad(y, [x, styles], y)]


def in_training(x: Tensor) -> list[Tensor]:
    n, c, h, w = x.shape
    case = Case(11, x.dtype)
    scale = case.side(1, c).expand(n, c).contiguous()
    noise = case.side(1, 1, h, w).expand(n, 1, h, w).contiguous()
    settings = activation_settings("lrelu", None, None, None)
    sides = (scale, 0.5, noise, case.side(), case.side(c), settings)
    y = layer_tail(x, *sides)
    return [y, *layer_tail_backward(y, x, *sides)[:2]]  # the others are sums over the batch


def normalised(x: Tensor) -> list[Tensor]:
    n, c, h, w = x.shape
    case = Case(12, x.dtype)
    style = case.side(1, 2 * c).expand(n, 2 * c).contiguous().requires_grad_()
    noise = case.side(1, 1, h, w).expand(n, 1, h, w).contiguous().requires_grad_()
    layer = FrozenNormalisedLayer(None, FILTER, case.side(c), case.side(c), "lrelu", 1e-8)
    x = x.detach().requires_grad_()
    y = layer(x, style, noise)
    return [y, *torch.autograd.grad(y, [x, style, noise], y)]


def distance(x: Tensor) -> list[Tensor]:
    case = Case(9, x.dtype)
    target = case.side(1, *x.shape[1:]).contiguous(memory_format=layout_of(x)) * 0.1
    x = x.detach().requires_grad_()
    y = lpips_tail(x, target, case.side(x.shape[1]).abs())
    return [y, *torch.autograd.grad(y.sum(), [x])]


def images_of_features(x: Tensor) -> list[Tensor]:
    n, c, h, w = x.shape
    weight = Case(13, x.dtype).side(1, 3, c).expand(n, 3, c)
    pixels = x.permute(0, 2, 3, 1).reshape(n, h * w, c)
    y = pixel_product(pixels, weight)
    return [y, *pixel_product_gradients(y, pixels, weight)]


def blurred(x: Tensor) -> list[Tensor]:
    return [upfirdn2d(x, FILTER, padding=[2, 1, 2, 1]), upfirdn2d(x, FILTER, up=2, padding=[2, 1, 2, 1])]


def penalised(x: Tensor) -> list[Tensor]:
    x = x.detach().requires_grad_()
    penalty = noise_penalty(x, 2.0)
    normal = x.detach().contiguous().clone()
    normalise_noise_(normal)
    return [penalty, *torch.autograd.grad(penalty.sum(), [x]), normal]


def activated(x: Tensor) -> list[Tensor]:
    b = Case(10, x.dtype).side(x.shape[1])
    return [torch.ops.invert.bias_act(x, b, 1, act, 0.2, 1.0, -1.0) for act in (2, 3, 8)]


OPERATORS = {
    f.__name__: f
    for f in (tail, modulated, in_training, normalised, distance, images_of_features, blurred, activated, penalised)
}
operators = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
layouts = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
Operator = Callable[[Tensor], list[Tensor]]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


@layouts
@operators
@pytest.mark.parametrize("shape", [(37, 11, 13), (64, 32, 32), (3, 50, 41)])
def test_neighbours_and_slot_do_not_matter(
    operator: Operator, layout: torch.memory_format, shape: tuple[int, ...]
) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(shape, generator=generator)
    results = []
    for slot in (0, 2):
        batch = torch.randn([3, *shape], generator=generator)
        batch[slot] = image
        results.append([y[slot] for y in operator(batch.contiguous(memory_format=layout))])
    assert same(*results)


@layouts
@operators
def test_number_of_threads_does_not_matter(operator: Operator, layout: torch.memory_format, threads: None) -> None:
    x = torch.randn(2, 48, 61, 67).contiguous(memory_format=layout)
    results = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        results.append(operator(x))
    assert same(results[0], results[1])
    assert same(results[0], results[2])


@layouts
@operators
def test_place_in_memory_does_not_matter(operator: Operator, layout: torch.memory_format) -> None:
    x = torch.randn(1, 21, 17, 19).contiguous(memory_format=layout)
    moved = torch.empty(x.numel() + 3)[3:].as_strided(x.shape, x.stride(), 3).copy_(x)
    assert moved.data_ptr() % 16 != x.data_ptr() % 16
    assert same(operator(x), operator(moved))
