"""Time the two forms of the modulated convolution: the table behind `DEFAULT_FORM`.

"frozen" is a projection step (gradients of activations and styles), "training" also the weights' gradient.
"""

import argparse
import statistics
import time

import torch

from bench.machine import machine
from generator.ops.modulated_conv import modulated_conv2d
from generator.ops.upfirdn2d import setup_filter

SHAPES = ((4, 512, 512, 1), (8, 128, 128, 1), (16, 256, 256, 1), (32, 64, 64, 1), (32, 128, 64, 2), (256, 64, 64, 1))
BATCHES = (1, 2, 8, 32)
LIMIT = 64 * 256**2 * 2  # elements of the output; larger batches of large images do not fit the question


def once(form: str, inputs: list[torch.Tensor], up: int) -> float:
    """Return the seconds of one forward and backward pass."""
    start = time.perf_counter()
    y = modulated_conv2d(
        *inputs, up=up, padding=1, resample_filter=setup_filter([1, 3, 3, 1]), flip_weight=up == 1, form=form
    )
    torch.autograd.grad(y.sum(), [tensor for tensor in inputs if tensor.requires_grad])
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    print(f"{machine()}\n\nfloat32, milliseconds (median, interleaved)")
    print(
        f"{'size':>4} {'in':>4} {'out':>4} {'up':>2} {'batch':>5} {'weights':>9} {'per_sample':>11} {'shared':>8} ratio"
    )
    for size, inputs, outputs, up in SHAPES:
        for batch in BATCHES:
            if batch * outputs * size**2 > LIMIT:
                continue
            for trained in (False, True):
                tensors = [
                    torch.randn([batch, inputs, size // up, size // up]).requires_grad_(),
                    torch.randn([outputs, inputs, 3, 3]).requires_grad_(trained),
                    torch.randn([batch, inputs]).requires_grad_(),
                ]
                tensors[0] = tensors[0].detach().contiguous(memory_format=torch.channels_last).requires_grad_()
                times: dict[str, list[float]] = {"per_sample": [], "shared": []}
                for _ in range(arguments.repeats + 1):
                    for form, found in times.items():
                        found.append(once(form, tensors, up) * 1e3)
                each = {form: statistics.median(found[1:]) for form, found in times.items()}
                kind = "training" if trained else "frozen"
                print(
                    f"{size:>4} {inputs:>4} {outputs:>4} {up:>2} {batch:>5} {kind:>9} {each['per_sample']:>11.2f}"
                    f" {each['shared']:>8.2f} {each['shared'] / each['per_sample']:>5.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
