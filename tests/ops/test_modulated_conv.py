import pytest
import torch

from generator.ops.modulated_conv import filtered_conv2d, modulated_conv2d
from generator.ops.upfirdn2d import setup_filter
from tests.golden_data import Arrays

GOLDEN = Arrays("modulated_conv2d")
CASES = GOLDEN.json("cases")
FORMS = ("shared", "per_sample")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("i", range(len(CASES)))
def test_golden(i: int, form: str) -> None:
    case = CASES[i]
    x, weight, styles = (GOLDEN[f"{i}.{name}"].requires_grad_() for name in ("x", "weight", "styles"))
    y = modulated_conv2d(
        x,
        weight,
        styles,
        up=case["up"],
        down=case["down"],
        padding=case["padding"],
        resample_filter=setup_filter(case["resample_filter"]),
        demodulate=case["demodulate"],
        flip_weight=case["flip_weight"],
        form=form,
    )
    noise = GOLDEN.optional(f"{i}.noise")
    y = y if noise is None else y + noise
    gradients = torch.autograd.grad(y, [x, weight, styles], GOLDEN[f"{i}.dy"])
    torch.testing.assert_close(y, GOLDEN[f"{i}.y"], atol=1e-6, rtol=0)
    for name, gradient in zip(("dx", "dweight", "dstyles"), gradients, strict=True):
        torch.testing.assert_close(gradient, GOLDEN[f"{i}.{name}"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("up", [1, 2])
@pytest.mark.parametrize("demodulate", [True, False])
def test_differentiable_twice(form: str, up: int, demodulate: bool) -> None:
    torch.manual_seed(0)
    x, weight, styles = (
        torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ([2, 2, 3, 3], [2, 2, 3, 3], [2, 2])
    )

    def op(*tensors: torch.Tensor) -> torch.Tensor:
        f = setup_filter([1, 3, 3, 1])
        return modulated_conv2d(
            *tensors, up=up, padding=1, resample_filter=f, demodulate=demodulate, flip_weight=up == 1, form=form
        )

    assert torch.autograd.gradcheck(op, (x, weight, styles))
    assert torch.autograd.gradgradcheck(op, (x, weight, styles))


@pytest.mark.parametrize(("up", "down", "kernel"), [(1, 1, 3), (2, 1, 3), (1, 2, 3), (2, 1, 1), (1, 2, 1), (2, 2, 3)])
@pytest.mark.parametrize("flip", [True, False])
def test_filtered_convolution_equals_its_slow_definition(up: int, down: int, kernel: int, flip: bool) -> None:
    from torch.nn import functional

    from generator.ops.upfirdn2d import upfirdn2d

    torch.manual_seed(1)
    x = torch.randn([2, 3, 8, 8], dtype=torch.float64)
    weight = torch.randn([4, 3, kernel, kernel], dtype=torch.float64)
    f = setup_filter([1, 3, 3, 1]).to(torch.float64)
    fast = filtered_conv2d(x, weight, f, up=up, down=down, padding=kernel // 2, flip_weight=flip)
    pad0, pad1 = kernel // 2, kernel // 2
    if up > 1:
        pad0, pad1 = pad0 + (4 + up - 1) // 2, pad1 + (4 - up) // 2
    if down > 1:
        pad0, pad1 = pad0 + (4 - down + 1) // 2, pad1 + (4 - down) // 2
    slow = upfirdn2d(x, f if up > 1 else None, up=up, padding=[pad0, pad1, pad0, pad1], gain=up**2)
    if down > 1:
        slow = upfirdn2d(slow, f)
    slow = functional.conv2d(slow, weight if flip else weight.flip([2, 3]))[:, :, ::down, ::down]
    torch.testing.assert_close(fast, slow)


def test_images_do_not_mix() -> None:
    x, weight, styles = torch.randn([3, 2, 4, 4]), torch.randn([2, 2, 3, 3]), torch.randn([3, 2])
    for form in FORMS:
        both = modulated_conv2d(x, weight, styles, padding=1, form=form)
        one = modulated_conv2d(x[1:2], weight, styles[1:2], padding=1, form=form)
        torch.testing.assert_close(both[1:2], one)


def test_unknown_form() -> None:
    with pytest.raises(ValueError, match="form"):
        modulated_conv2d(torch.zeros([1, 1, 4, 4]), torch.zeros([1, 1, 1, 1]), torch.zeros([1, 1]), form="fast")
