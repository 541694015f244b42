"""Time each native operator beside its portable kernel at 64 x 256 x 256, float32, and a matrix product for scale."""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from bench.machine import machine
from bench.side_by_side import prepare_kernels
from generator.ops._library import portable
from generator.ops.bias_act import bias_act
from generator.ops.conv_tail import conv_tail
from generator.ops.lpips_tail import lpips_tail, normalise_features
from generator.ops.modulate import modulate
from generator.ops.upfirdn2d import setup_filter, upfirdn2d

SHAPE = (1, 64, 256, 256)


def cases(layout: torch.memory_format) -> dict[str, tuple[Callable[..., Tensor], list[Tensor]]]:
    """Return each operator as a function of the tensors that get gradients, and those tensors."""
    torch.manual_seed(0)
    n, c, h, w = SHAPE
    x = torch.randn(SHAPE).contiguous(memory_format=layout)
    wide = torch.randn([n, c, h + 1, w + 1]).contiguous(memory_format=layout)
    f = setup_filter([1, 3, 3, 1])
    b, strength, lin = torch.randn([c]), torch.tensor(0.3), torch.rand([c])
    scale, noise = torch.rand([n, c]), torch.randn([n, 1, h, w])
    target = normalise_features(torch.randn(SHAPE).contiguous(memory_format=layout))
    return {
        "upfirdn2d, blur": (lambda x: upfirdn2d(x, f, padding=1, gain=4), [wide]),
        "upfirdn2d, up 2": (lambda x: upfirdn2d(x, f, up=2, padding=[2, 1, 2, 1], gain=4), [x]),
        "upfirdn2d, down 2": (lambda x: upfirdn2d(x, f, down=2, padding=1), [x]),
        "bias_act, lrelu": (lambda x: bias_act(x, b, act="lrelu"), [x]),
        "bias_act, swish": (lambda x: bias_act(x, b, act="swish"), [x]),
        "modulate": (modulate, [x, scale]),
        "conv_tail": (lambda x, s, z: conv_tail(x, s, z, strength, b, act="lrelu"), [x, scale, noise]),
        "lpips_tail": (lambda x: lpips_tail(x, target, lin), [x]),
    }


def timed(op: Callable[..., Tensor], tensors: list[Tensor], rounds: int) -> tuple[float, float]:
    """Return the median seconds of forward and of backward."""
    forward, backward = [], []
    for _ in range(rounds):
        leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        start = time.perf_counter()
        y = op(*leaves)
        middle = time.perf_counter()
        torch.autograd.grad(y, leaves, torch.ones_like(y))
        backward.append(time.perf_counter() - middle)
        forward.append(middle - start)
    return statistics.median(forward[2:]), statistics.median(backward[2:])


def portable_only() -> "torch.library.Library":
    """Put the portable kernels in front of the native ones until the result is gone."""
    library = torch.library.Library("invert", "IMPL")
    with_override = {"allow_override": True}
    for name in NATIVE:
        library.impl(name, portable(name), "CPU", **with_override)
    return library


NATIVE = (
    "upfirdn2d",
    "bias_act",
    "bias_act_backward",
    "modulate",
    "modulate_backward",
    "conv_tail",
    "conv_tail_backward",
    "lpips_tail",
    "lpips_tail_backward",
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    arguments = parser.parse_args()
    prepare_kernels(native=True)
    print(f"{machine()}\n\nOperators at {SHAPE}, float32, milliseconds.\n")
    print("| operator | layout | portable fwd | native fwd | share | portable bwd | native bwd | share |")
    print("|---|---|---|---|---|---|---|---|")
    for layout, label in ((torch.contiguous_format, "NCHW"), (torch.channels_last, "NHWC")):
        for name, (op, tensors) in cases(layout).items():
            native = timed(op, tensors, arguments.rounds)
            override = portable_only()
            slow = timed(op, tensors, arguments.rounds)
            override._destroy()
            row = " | ".join(f"{p * 1e3:.2f} | {q * 1e3:.2f} | {q / p:.2f}" for p, q in zip(slow, native, strict=True))
            print(f"| {name} | {label} | {row} |", flush=True)


if __name__ == "__main__":
    main()
