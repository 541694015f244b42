"""Time one projection step beside the same step done the plain way, in one run.

The plain way is how the public projectors do it: weights per image and one grouped convolution, the
target's features computed again at every step, contiguous layout, one tensor per noise map.
"""

import argparse
import functools
import json
import resource
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from bench.machine import machine, product_speed
from bench.side_by_side import measure_apart, median_seconds, prepare_kernels
from generator.config import GeneratorConfig, MappingConfig, SynthesisSettings
from generator.layers import freeze
from generator.networks import Generator
from generator.ops import frozen_conv
from generator.stylegan.config import StyleGANSynthesisConfig
from generator.stylegan2.config import SynthesisConfig
from generator.stylegan2.layers import ModulatedConv2d, ToRGB
from invert.projection.latents import LatentStatistics
from invert.projection.noise import NoiseMaps
from invert.projection.objective import PaperObjective
from invert.projection.optimisers import Adam, Problem, Schedule
from invert.projection.perceptual import Perceptual
from invert.projection.session import keep_freed_memory
from invert.projection.space import W

CASES: dict[str, tuple[SynthesisSettings, tuple[int, ...]]] = {  # with the batches that are timed
    "32 px": (SynthesisConfig(img_resolution=32, channel_base=2048), (1, 32)),
    "256 px config E": (SynthesisConfig(img_resolution=256, channel_base=16384), (1,)),
    "1024 px config F": (SynthesisConfig(img_resolution=1024, channel_base=32768), (1,)),
    "32 px StyleGAN": (StyleGANSynthesisConfig(img_resolution=32, channel_base=2048), (1, 32)),
    "256 px StyleGAN": (StyleGANSynthesisConfig(img_resolution=256), (1,)),
    "1024 px StyleGAN": (StyleGANSynthesisConfig(img_resolution=1024), (1,)),
}


def network(synthesis: SynthesisSettings) -> Generator:
    """Return an untrained network; what it generates does not change what it costs."""
    torch.manual_seed(0)
    return Generator(GeneratorConfig(MappingConfig(), synthesis)).requires_grad_(False)


def ours(
    generator: Generator, perceptual: Perceptual, targets: Tensor, precision: str = "float32"
) -> Callable[[int], object]:
    """Return the project's own step."""
    generator = generator.to(memory_format=torch.channels_last)
    freeze(generator)
    objective = PaperObjective(generator, perceptual, targets, 1e5, 2.0, getattr(torch, precision))
    streams = [torch.Generator().manual_seed(i) for i in range(len(targets))]
    noise = NoiseMaps(generator.synthesis.noise_sizes, len(targets), torch.device("cpu"))
    noise.draw(streams)
    w = torch.zeros([len(targets), 1, 512])
    space = W(generator, LatentStatistics(w[0, 0], 1.0))
    return Adam(Problem(objective, space, w, noise, streams), Schedule(1000)).step


def plain(generator: Generator, perceptual: Perceptual, targets: Tensor) -> Callable[[int], object]:
    """Return the step as the public projectors make it."""
    for module in generator.modules():
        if isinstance(module, (ModulatedConv2d, ToRGB)):
            module.form = "per_sample"
    perceptual.model.to(memory_format=torch.contiguous_format)
    n = len(targets)
    w = torch.zeros([n, generator.config.mapping.w_dim], requires_grad=True)
    noise = {name: torch.randn([n, 1, r, r]).requires_grad_() for name, r in generator.synthesis.noise_sizes.items()}
    adam = torch.optim.Adam([w, *noise.values()], lr=0.1)

    def features(x: Tensor) -> list[Tensor]:
        if x.shape[2] > 256:
            x = functional.interpolate(x, size=(256, 256), mode="area")
        outs = perceptual.model.net(perceptual.model.scaling_layer(x))
        return [y / (y.square().sum(dim=1, keepdim=True).sqrt() + 1e-10) for y in outs]

    def step(index: int) -> None:
        images = generator.synthesis(generator.broadcast(w + 0.05 * torch.randn(w.shape)), noise)
        loss = torch.zeros([])
        for x, y, head in zip(features(images), features(targets), perceptual.model.lins, strict=True):
            loss = loss + head((x - y).square()).mean(dim=[2, 3]).sum()
        for value in noise.values():
            while True:
                loss = loss + 1e5 * (value * value.roll(1, 3)).mean().square()
                loss = loss + 1e5 * (value * value.roll(1, 2)).mean().square()
                if value.shape[2] <= 8:
                    break
                value = functional.avg_pool2d(value, 2)
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        with torch.no_grad():
            for value in noise.values():
                value -= value.mean()
                value *= value.square().mean().rsqrt()

    return step


# How each way's process is set up: the step, native kernels and kept memory or neither, the feature maps' type.
WAYS: dict[str, tuple[bool, bool, str]] = {
    "plain": (False, False, "float32"),
    "plain, memory kept": (False, True, "float32"),
    "ours": (True, True, "float32"),
    "ours, bfloat16": (True, True, "bfloat16"),
}


def step_of(way: str, case: str, batch: int) -> Callable[[int], object]:
    """Return the step to be timed."""
    is_ours, _, precision = WAYS[way]
    synthesis = CASES[case][0]
    torch.manual_seed(1)
    targets = torch.rand([batch, 3, synthesis.img_resolution, synthesis.img_resolution]) * 2 - 1
    make = functools.partial(ours, precision=precision) if is_ours else plain
    return make(network(synthesis), Perceptual(), targets)


def measure(case: str, batch: int, way: str, budget: float) -> dict[str, float]:
    """Return the median seconds of a step and the peak memory in GiB of this process."""
    is_ours, keep, _ = WAYS[way]
    if keep:
        keep_freed_memory()
    prepare_kernels(is_ours)
    seconds = median_seconds(step_of(way, case, batch), budget)
    return {"seconds": seconds, "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2}


def count(case: str, batch: int) -> dict[str, float]:
    """Return the floating-point operations of our step: convolutions and products, forward and backward."""
    prepare_kernels(False)
    frozen_conv._PACKING = False  # torch counts only the convolutions it shows
    step = step_of("ours", case, batch)
    with FlopCounterMode(display=False) as counter:
        step(1)
    return {"flop": float(counter.get_total_flops())}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", action="append", choices=tuple(CASES), help="default: all")
    parser.add_argument("--budget", type=float, default=8.0, help="seconds of timed steps per row and way")
    parser.add_argument("--measure", nargs=3, metavar=("CASE", "BATCH", "WAY"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        case, batch, way = arguments.measure
        found = count(case, int(batch)) if way == "count" else measure(case, int(batch), way, arguments.budget)
        print(json.dumps(found))
        return
    limit = product_speed()
    print(f"{machine(limit)}\n\nOne projection step, milliseconds.")
    print("Shares: our time per image against the plain way at batch 1 / against that with freed memory kept too.")
    print("Last columns: what our float32 step reaches of a large product's speed.\n")
    print(
        "| case | batch | plain | plain, memory kept | ours | share | ours, bfloat16 | share | peak GiB | GFLOP/s | |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")

    def run(case: str, batch: int, way: str) -> dict[str, float]:
        return measure_apart("bench.projection_step", [case, str(batch), way, "--budget", str(arguments.budget)])

    for case in arguments.case or CASES:
        one = [run(case, 1, way)["seconds"] for way in ("plain", "plain, memory kept")]
        for batch in CASES[case][1]:
            found = run(case, batch, "ours")
            cells = [case, str(batch), *(f"{value * 1e3:.1f}" for value in one)]
            for seconds in (found["seconds"], run(case, batch, "ours, bfloat16")["seconds"]):
                cells += [f"{seconds * 1e3:.1f}", " / ".join(f"{seconds / batch / value:.2f}" for value in one)]
            speed = run(case, batch, "count")["flop"] / found["seconds"]
            cells += [f"{found['gib']:.1f}", f"{speed / 1e9:.0f}", f"{speed / limit:.0%}"]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
