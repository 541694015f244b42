"""Time a gradient step of StyleGAN3 networks: with the filtered activation's kernel, and made of other operators.

    python -m bench.stylegan3_step

The other operators are the native ones too. Seconds of the processor, the least of several rounds.
"""

import argparse
import time
from typing import Any

import torch
from torch import Tensor

from bench.machine import machine
from bench.side_by_side import prepare_kernels
from generator.config import GeneratorConfig, MappingConfig
from generator.layers import freeze
from generator.networks import Generator
from generator.ops.bias_act import bias_act
from generator.ops.filtered_lrelu import filtered_lrelu
from generator.ops.upfirdn2d import upfirdn2d
from generator.stylegan3 import layers
from generator.stylegan3.config import StyleGAN3SynthesisConfig

W_DIM = 64
KINDS: dict[str, dict[str, Any]] = {"T": {}, "R": {"conv_kernel": 1, "use_radial_filters": True}}


def plain(x: Tensor, f1: Tensor, f2: Tensor, b: Tensor, *, up: int, down: int, **settings: Any) -> Tensor:
    """Do what `filtered_lrelu` does, with an operator for each step of it."""
    padding, slope = settings.pop("padding"), settings.pop("slope")
    x = upfirdn2d(bias_act(x, b), f1, up=up, padding=padding, gain=up**2)
    x = bias_act(x, act="linear" if slope == 1 else "lrelu", alpha=slope, **settings)
    return upfirdn2d(x, f2, down=down)


def main() -> None:
    """Print a line for each configuration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    prepare_kernels(native=True)
    torch.set_num_threads(1)
    print(machine())
    for name, kind in KINDS.items():
        torch.manual_seed(0)
        config = StyleGAN3SynthesisConfig(W_DIM, arguments.resolution, channel_base=2048, channel_max=64, **kind)
        generator = Generator(GeneratorConfig(MappingConfig(W_DIM, 0, W_DIM, 2), config))
        freeze(generator.to(memory_format=torch.channels_last))
        ws = torch.randn(1, generator.num_ws, W_DIM, requires_grad=True)
        least = {"kernel": float("inf"), "plain": float("inf")}
        for _ in range(arguments.rounds):
            for way, function in (("kernel", filtered_lrelu), ("plain", plain)):
                layers.filtered_lrelu = function  # type: ignore[assignment]
                start = time.process_time()
                torch.autograd.grad(generator.synthesis(ws).square().sum(), ws)
                least[way] = min(least[way], time.process_time() - start)
        layers.filtered_lrelu = filtered_lrelu
        share = least["kernel"] / least["plain"]
        print(
            f"{name}: {least['kernel']:.3f} s with the kernel, {least['plain']:.3f} s plain, share {share:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
