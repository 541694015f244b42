"""Time one projection step beside the same step done the plain way, in one run.

The plain way is how the public projectors do it: weights per picture and one grouped convolution, the
target's features computed again at every step, contiguous layout, one tensor per noise map.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from generator.config import GeneratorConfig, SynthesisConfig
from generator.layers import ModulatedConv2d, ToRGB, freeze
from generator.networks import Generator
from invert.allocator import keep_freed_memory
from invert.latents import LatentStatistics
from invert.noise import NoiseMaps
from invert.optimisation import Optimisation, PaperObjective
from invert.perceptual import Perceptual
from invert.schedule import Schedule

CASES = {  # resolution, channel base, batches
    "32 px": (32, 2048, (1, 32)),
    "256 px config E": (256, 16384, (1,)),
    "1024 px config F": (1024, 32768, (1,)),
}


def network(resolution: int, channel_base: int) -> Generator:
    """Return an untrained network of the given widths; what it draws does not change what it costs."""
    torch.manual_seed(0)
    synthesis = SynthesisConfig(img_resolution=resolution, channel_base=channel_base, channel_max=512)
    return Generator(GeneratorConfig(synthesis=synthesis)).requires_grad_(False)


def ours(generator: Generator, perceptual: Perceptual, targets: Tensor) -> Callable[[int], object]:
    """Return the project's own step."""
    generator = generator.to(memory_format=torch.channels_last)
    freeze(generator)
    objective = PaperObjective(generator, perceptual, perceptual.prepare(targets), 1e5, 2.0)
    streams = [torch.Generator().manual_seed(i) for i in range(len(targets))]
    noise = NoiseMaps(generator.synthesis.noise_sizes, len(targets), torch.device("cpu"))
    noise.draw(streams)
    w = torch.zeros([len(targets), 512])
    optimisation = Optimisation(objective, Schedule(1000), LatentStatistics(w[0], 1.0), w, noise, streams)
    return optimisation.step


def plain(generator: Generator, perceptual: Perceptual, targets: Tensor) -> Callable[[int], object]:
    """Return the step as the public projectors make it."""
    for module in generator.modules():
        if isinstance(module, (ModulatedConv2d, ToRGB)):
            module.form = "per_sample"
    perceptual.model.to(memory_format=torch.contiguous_format)
    n = len(targets)
    w = torch.zeros([n, 512], requires_grad=True)
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


WAYS = {"plain": (plain, False), "plain, memory kept": (plain, True), "ours": (ours, True)}


def measure(case: str, batch: int, way: str, budget: float) -> dict[str, float]:
    """Return the median seconds of a step and the peak memory in GiB of this process."""
    make, keep = WAYS[way]
    if keep:
        keep_freed_memory()
    resolution, base, _ = CASES[case]
    torch.manual_seed(1)
    targets = torch.rand([batch, 3, resolution, resolution]) * 2 - 1
    step = make(network(resolution, base), Perceptual(), targets)
    times: list[float] = []
    for index in range(3, 200):
        start = time.perf_counter()
        step(index)
        times.append(time.perf_counter() - start)
        if index >= 6 and sum(times) > budget:
            break
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    return {"seconds": statistics.median(times[2:]), "gib": peak}


def in_a_process(case: str, batch: int, way: str, budget: float) -> dict[str, float]:
    """Measure in a process of its own, so that neither the memory nor the allocator of one way reaches another."""
    command = [sys.executable, "-m", "bench.projection_step", "--measure", case, str(batch), way]
    found = subprocess.run([*command, "--budget", str(budget)], check=True, stdout=subprocess.PIPE)
    result: dict[str, float] = json.loads(found.stdout)
    return result


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", action="append", choices=tuple(CASES), help="default: all")
    parser.add_argument("--budget", type=float, default=10.0, help="seconds of timed steps per row and way")
    parser.add_argument("--measure", nargs=3, metavar=("CASE", "BATCH", "WAY"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        case, batch, way = arguments.measure
        print(json.dumps(measure(case, int(batch), way, arguments.budget)))
        return
    print(f"One projection step; torch {torch.__version__}, {torch.get_num_threads()} threads, float32.")
    print("Share: our time per picture against the plain way at batch 1, and against it with freed memory kept.\n")
    print("| case | batch | plain, ms | plain, memory kept, ms | ours, ms | ours per picture, ms | share | peak GiB |")
    print("|---|---|---|---|---|---|---|---|")
    for case in arguments.case or CASES:
        one = {way: in_a_process(case, 1, way, arguments.budget)["seconds"] for way in WAYS if way != "ours"}
        for batch in CASES[case][2]:
            found = in_a_process(case, batch, "ours", arguments.budget)
            each = found["seconds"] / batch
            times = " | ".join(f"{value * 1e3:.1f}" for value in (*one.values(), found["seconds"], each))
            shares = " / ".join(f"{each / value:.2f}" for value in one.values())
            print(f"| {case} | {batch} | {times} | {shares} | {found['gib']:.1f} |", flush=True)


if __name__ == "__main__":
    main()
