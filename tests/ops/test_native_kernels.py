"""Each native kernel against the portable one, on shapes, layouts and types of every kind."""

import pytest
import torch

from generator.ops._library import portable
from generator.ops.upfirdn2d import setup_filter
from generator.settings import ACTIVATIONS
from tests.ops.native_case import DTYPES, SHAPES, Case, compare

pytestmark = pytest.mark.usefixtures("isa")

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
seeds = pytest.mark.parametrize("seed", range(24))
CURVED = tuple(range(3, len(ACTIVATIONS)))


def settings(case: Case, *acts: int) -> tuple[int, float, float, float]:
    return case.choose(*(acts or range(len(ACTIVATIONS)))), 0.2, 1.25, case.choose(-1.0, -1.0, 0.625)


@every_dtype
@seeds
def test_upfirdn2d(seed: int, dtype: torch.dtype) -> None:
    case = Case(seed, dtype)
    x = case.normal(*case.choose(*SHAPES[:7]))
    kh, kw = case.choose((1, 1), (4, 4), (3, 2), (1, 6), (12, 1), (5, 5))
    f = case.choose(torch.randn(kh, kw), torch.outer(torch.randn(kh), torch.randn(kw)))
    up = [case.choose(1, 1, 2, 3) for _ in range(2)]
    down = [case.choose(1, 1, 2, 3) for _ in range(2)]
    padding = [case.random.randrange(-1, 6) for _ in range(4)]
    height = x.shape[2] * up[1] + sum(padding[2:]) - kh
    width = x.shape[3] * up[0] + sum(padding[:2]) - kw
    padding[1] -= min(width, 0)
    padding[3] -= min(height, 0)
    compare("upfirdn2d", x, f, *up, *down, *padding, case.choose(True, False), 1.5, tolerance=3)


@every_dtype
@pytest.mark.parametrize("size", [1, 2, 3, 8, 17, 64])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["planes", "channels_last"])
def test_filters_of_the_networks(layout: torch.memory_format, size: int, dtype: torch.dtype) -> None:
    f = setup_filter([1, 3, 3, 1])
    for channels in (3, 33):
        x = Case(size, dtype).normal(2, channels, size, size + 1).contiguous(memory_format=layout)
        compare("upfirdn2d", x, f, 1, 1, 1, 1, 2, 1, 2, 1, False, 4.0, tolerance=3)  # blur after up
        compare("upfirdn2d", x, f, 1, 1, 1, 1, 2, 2, 2, 2, False, 1.0, tolerance=3)  # blur before down
        compare("upfirdn2d", x, f, 2, 2, 1, 1, 2, 1, 2, 1, False, 4.0, tolerance=3)  # image up
        compare("upfirdn2d", x, f, 1, 1, 2, 2, 1, 2, 1, 2, True, 4.0, tolerance=3)  # its transpose
        compare("upfirdn2d", x, f, 1, 1, 2, 2, 2, 2, 2, 2, False, 1.0, tolerance=3)  # skip down


@every_dtype
@seeds
def test_bias_act(seed: int, dtype: torch.dtype) -> None:
    case = Case(seed, dtype)
    x = case.normal(*case.choose(*SHAPES, (5, 7), (3, 200, 5), (1, 2, 3, 4, 5), (2100,), (1, 3000, 2)))
    dim = case.random.randrange(x.ndim)
    b = case.perhaps(case.side(x.shape[dim]).to(dtype))
    dy, v = case.lay(torch.randn_like(x)), case.lay(torch.randn_like(x))
    compare("bias_act", x, b, dim, *settings(case))
    compare("bias_act_backward", dy, x, b, dim, *settings(case))
    compare("bias_act_second", v, dy, x, b, dim, *settings(case, *CURVED))


@every_dtype
@seeds
def test_layer_tail(seed: int, dtype: torch.dtype) -> None:
    case = Case(seed, dtype)
    n, c, *pixels = shape = case.choose(*SHAPES, (4, 37), (3, 70, 40, 40))
    x, dy = case.normal(*shape), case.normal(*shape)
    noise = case.perhaps(case.side(case.choose(1, n), 1, *pixels)) if pixels else None
    sides = (case.perhaps(case.side(n, c)), case.choose(1.0, 0.3), noise)
    more = (case.perhaps(case.side()), case.perhaps(case.side(c)), *settings(case))
    compare("layer_tail", x, *sides, *more)
    compare("layer_tail_backward", dy, x, *sides, *more, tolerance=60)


@every_dtype
@seeds
def test_normalised_tail(seed: int, dtype: torch.dtype) -> None:
    case = Case(seed, dtype)
    n, c, h, w = shape = case.choose(*SHAPES, (2, 37, 40, 40))
    x, dy = case.normal(*shape), case.normal(*shape)
    sides = (case.perhaps(case.side(case.choose(1, n), 1, h, w)), case.side(c), case.side(c))
    style, act = case.perhaps(case.side(n, 2 * c)), settings(case)
    # in a map of one value, or one that the clamp makes constant, what is left of a difference is rounding
    epsilon = 0.1
    compare("normalised_tail", x, *sides, style, epsilon, *act, tolerance=60)
    _, moments = portable("normalised_tail")(x, *sides, style, epsilon, *act)
    need = sides[0] is not None
    compare("normalised_tail_backward", dy, x, moments, *sides, style, *act, need, tolerance=60)


@every_dtype
@seeds
def test_pixel_product(seed: int, dtype: torch.dtype) -> None:
    case = Case(seed, dtype)
    n, pixels, c = case.choose((2, 35, 3), (1, 297, 16), (3, 64, 40), (1, 1, 5), (1, 1330, 17), (2, 0, 3), (0, 4, 3))
    k = case.choose(1, 2, 3, 4)
    x, weight = (torch.randn(shape, generator=case.generator).to(dtype) for shape in ([n, c, pixels], [n, k, c]))
    x = case.choose(x.transpose(1, 2), x.transpose(1, 2).contiguous())
    compare("pixel_product", x, weight, tolerance=30)
    dy = torch.randn([n, pixels, k], generator=case.generator).to(dtype)
    compare("pixel_product_backward", dy, x, weight, tolerance=30)


@every_dtype
@seeds
def test_conv_tail(seed: int, dtype: torch.dtype) -> None:
    case = Case(seed, dtype)
    n, c, h, w = shape = case.choose(*SHAPES)
    x, dy = case.normal(*shape), case.normal(*shape)
    scale = case.perhaps(case.side(n, c))
    noise = case.perhaps(case.side(case.choose(1, n), 1, h, w))
    sides = (scale, noise, case.perhaps(case.side()), case.perhaps(case.side(c)))
    rest = settings(case)
    compare("conv_tail", x, *sides, *rest)
    need = (scale is not None, noise is not None)
    compare("conv_tail_backward", dy, x, *sides, *rest, *need, tolerance=30)


@every_dtype
@seeds
def test_modulate(seed: int, dtype: torch.dtype) -> None:
    case = Case(seed, dtype)
    shape = case.choose(*SHAPES)
    x, dy, styles = case.normal(*shape), case.normal(*shape), case.side(*shape[:2])
    compare("modulate", x, styles)
    compare("modulate_backward", dy, x, styles, tolerance=30)


@every_dtype
@seeds
def test_lpips_tail(seed: int, dtype: torch.dtype) -> None:
    case = Case(seed, dtype)
    n, c, h, w = case.choose(*SHAPES[:-1])
    features = case.normal(n, c, h, w) + 0.5
    target = case.normal(case.choose(1, n), c, h, w) * 0.3
    lin = case.side(c).abs()
    compare("lpips_tail", features, target, lin, tolerance=10)
    compare("lpips_tail_backward", case.side(n), features, target, lin, tolerance=30)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize(("n", "inputs", "outputs"), [(1, 512, 37), (3, 5, 8), (0, 4, 3)])
def test_demodulation(n: int, inputs: int, outputs: int, dtype: torch.dtype) -> None:
    case = Case(n, dtype)
    styles, energy = case.side(n, inputs) + 1, case.side(outputs, inputs).square()
    compare("demodulation", styles, energy.t(), 1e-8, tolerance=10)
    factors = portable("demodulation")(styles, energy.t(), 1e-8)
    compare("demodulation_backward", case.side(n, outputs), case.side(n, inputs), styles, factors, energy, tolerance=10)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("size", [(8, 8), (1, 5), (9, 2), (9, 33), (21, 34), (64, 64)], ids=str)
def test_noise_maps(size: tuple[int, int], dtype: torch.dtype) -> None:
    case = Case(size[1], dtype)
    maps = case.normal(2, 3, *size) + 0.5
    compare("noise_penalty", maps, 2.0, tolerance=10)
    actual, expected = maps.contiguous().clone(), maps.double().contiguous().clone()
    torch.ops.invert.noise_normalise_(actual)
    portable("noise_normalise_")(expected)
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=1e-12 if dtype == torch.float64 else 2e-6)


def test_zero_feature_vectors_have_a_finite_gradient() -> None:
    for layout in (torch.contiguous_format, torch.channels_last):
        features = torch.randn(2, 8, 5, 5).contiguous(memory_format=layout)
        features[0, :, 2, 3] = 0
        target, lin = torch.randn(1, 8, 5, 5) * 0.3, torch.rand(8)
        compare("lpips_tail_backward", torch.ones(2), features, target, lin, tolerance=100)
        assert torch.ops.invert.lpips_tail_backward(torch.ones(2), features, target, lin).isfinite().all()


@pytest.mark.parametrize("act", range(len(ACTIVATIONS)), ids=ACTIVATIONS)
def test_infinities_and_nan_go_where_they_go_without_native_kernels(act: int) -> None:
    inf, nan = float("inf"), float("nan")
    x = torch.tensor([nan, inf, -inf, 0.0, -0.0, 1e-30, -1e-30, 90.0, -90.0, 3e38, -3e38])
    for clamp in (-1.0, 2.0):
        arguments = (x, None, 0, act, 0.2, 1.0, clamp)
        actual, expected = torch.ops.invert.bias_act(*arguments), portable("bias_act")(*arguments)
        torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-30, equal_nan=True)


def test_every_float16_and_bfloat16_number_is_read_and_written_right() -> None:
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int16)
    for dtype in (torch.float16, torch.bfloat16):
        x = bits.view(dtype)
        y = torch.ops.invert.bias_act(x, None, 0, 0, 0.0, 1.0, -1.0)
        torch.testing.assert_close(y, x, rtol=0, atol=0, equal_nan=True)


def test_rounding_to_float16_and_bfloat16_is_to_nearest_even() -> None:
    generator = torch.Generator().manual_seed(0)
    for dtype in (torch.float16, torch.bfloat16):
        x = torch.randint(-(2**15), 2**15, [1, 1, 64, 4096], generator=generator, dtype=torch.int16).view(dtype)
        x = torch.where(x.isfinite(), x, torch.ones_like(x))
        for scale in (1.2345678, 3.0e-5, 2.0**-9, 40.0):
            y = torch.ops.invert.modulate(x, torch.tensor([[scale]]))
            torch.testing.assert_close(y, (x.float() * scale).to(dtype), rtol=0, atol=0)


def test_wrong_tensors_are_refused_not_read() -> None:
    x = torch.randn(2, 3, 4, 4)
    rest = (2, 0.2, 1.0, -1.0)
    with pytest.raises(RuntimeError, match="elements"):
        torch.ops.invert.conv_tail(x, torch.ones(2, 2), None, None, None, *rest)
    with pytest.raises(RuntimeError, match="float32"):
        torch.ops.invert.conv_tail(x, torch.ones(2, 3).double(), None, None, None, *rest)
    with pytest.raises(RuntimeError, match="shape"):
        torch.ops.invert.conv_tail_backward(x[:1], x, None, None, None, None, *rest, False, False)
    with pytest.raises(RuntimeError, match="bias"):
        torch.ops.invert.bias_act(x, torch.ones(4), 1, *rest)
    with pytest.raises(RuntimeError, match="target"):
        torch.ops.invert.lpips_tail(x, x[:, :, 1:], torch.ones(3))
    with pytest.raises(RuntimeError, match="filter"):
        torch.ops.invert.upfirdn2d(x, torch.ones(5, 5), 1, 1, 1, 1, 0, 0, 0, 0, False, 1.0)
    with pytest.raises(RuntimeError, match="float32, float64"):
        torch.ops.invert.bias_act(torch.ones(3, dtype=torch.int32), None, 0, *rest)
