"""Time one projection step beside the same step done the plain way, in one run.

The plain way is how the public projectors do it, see `bench.plain_projection`.
"""

import argparse
import json
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench.machine import machine, product_speed
from bench.plain_projection import PlainProjection
from bench.side_by_side import measure_apart, median_seconds, prepare_kernels
from generator.config import GeneratorConfig, MappingConfig, SynthesisSettings
from generator.layers import freeze
from generator.networks import Generator
from generator.ops import frozen_conv
from generator.stylegan.config import StyleGANSynthesisConfig
from generator.stylegan2.config import SynthesisConfig
from invert.projection.latents import LatentStatistics
from invert.projection.noise import NoiseMaps
from invert.projection.objective import PaperObjective
from invert.projection.optimisers import Adam, Problem, Recorder, Schedule
from invert.projection.perceptual import Perceptual
from invert.projection.session import keep_freed_memory
from invert.projection.space import W
from invert.projection.step_graph import StepGraph

CASES: dict[str, tuple[SynthesisSettings, tuple[int, ...]]] = {  # with the batches that are timed
    "32 px": (SynthesisConfig(img_resolution=32, channel_base=2048), (1, 32)),
    "256 px config E": (SynthesisConfig(img_resolution=256, channel_base=16384), (1,)),
    "1024 px config F": (SynthesisConfig(img_resolution=1024, channel_base=32768), (1,)),
    "32 px StyleGAN": (StyleGANSynthesisConfig(img_resolution=32, channel_base=2048), (1, 32)),
    "256 px StyleGAN": (StyleGANSynthesisConfig(img_resolution=256), (1,)),
    "1024 px StyleGAN": (StyleGANSynthesisConfig(img_resolution=1024), (1,)),
}

_GPU_BATCHES = (1, 16)
_GPU_WAYS = ("plain", "plain, TF32", "ours", "ours, one graph", "ours, TF32", "ours, bfloat16")
Run = Callable[[str, int, str], dict[str, float]]
"""Measures a case, a batch and a way in a process of its own; on a GPU all "own" or all "plain" ways."""


def network(synthesis: SynthesisSettings) -> Generator:
    """Return an untrained network; what it generates does not change what it costs."""
    torch.manual_seed(0)
    return Generator(GeneratorConfig(MappingConfig(), synthesis)).requires_grad_(False)


def ours(
    generator: Generator,
    perceptual: Perceptual,
    targets: Tensor,
    precision: str = "float32",
    record: Recorder | None = None,
) -> Callable[[int], object]:
    """Return the project's own step."""
    generator = generator.to(memory_format=torch.channels_last)
    freeze(generator)
    objective = PaperObjective(generator, perceptual, targets, 1e5, 2.0, getattr(torch, precision))
    streams = [torch.Generator().manual_seed(i) for i in range(len(targets))]
    noise = NoiseMaps(generator.synthesis.noise_sizes, len(targets), targets.device)
    noise.draw(streams)
    w = torch.zeros([len(targets), 1, 512], device=targets.device)
    space = W(generator, LatentStatistics(w[0, 0], 1.0))
    return Adam(Problem(objective, space, w, noise, streams), Schedule(1000), record=record).step


@dataclass(frozen=True)
class Way:
    """How a step is made, and the process that makes it.

    Attributes:
        own: The project's own step with native kernels, or the plain one without.
        keeps_memory: Whether freed memory is kept.
        precision: Type of the feature maps.
        tf32: Whether float32 products are made in TF32, which only a GPU has.
        graph: Whether a step is one graph, likewise.
    """

    own: bool
    keeps_memory: bool = True
    precision: str = "float32"
    tf32: bool = False
    graph: bool = False


WAYS = {
    "plain": Way(own=False, keeps_memory=False),
    "plain, memory kept": Way(own=False),
    "plain, TF32": Way(own=False, tf32=True),
    "ours": Way(own=True),
    "ours, one graph": Way(own=True, graph=True),
    "ours, TF32": Way(own=True, tf32=True),
    "ours, bfloat16": Way(own=True, precision="bfloat16"),
}


def step_of(way: str, case: str, batch: int, device: str = "cpu") -> Callable[[int], object]:
    """Return the step to be timed."""
    synthesis = CASES[case][0]
    torch.manual_seed(1)
    targets = torch.rand([batch, 3, synthesis.img_resolution, synthesis.img_resolution], device=device) * 2 - 1
    generator, perceptual = network(synthesis).to(device), Perceptual().to(device)
    if WAYS[way].own:
        record = StepGraph if WAYS[way].graph else None
        step = ours(generator, perceptual, targets, WAYS[way].precision, record)
    else:
        step = PlainProjection(generator, perceptual, targets).step
    if device == "cpu":
        return step

    def finished(index: int) -> None:
        step(index)
        torch.cuda.synchronize()

    return finished


def measure(case: str, batch: int, way: str, budget: float) -> dict[str, float]:
    """Return the median seconds of a step and the peak memory in GiB of this process."""
    if WAYS[way].keeps_memory:
        keep_freed_memory()
    prepare_kernels(WAYS[way].own)
    seconds = median_seconds(step_of(way, case, batch), budget)
    return {"seconds": seconds, "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2}


def measure_on_gpu(case: str, batch: int, own: bool, budget: float) -> dict[str, float]:
    """Return the median seconds of a step by each own or plain way, and under "gib" the peak memory of the first."""
    prepare_kernels(own, cuda=own)
    found: dict[str, float] = {}
    for way in (way for way in _GPU_WAYS if WAYS[way].own == own):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = WAYS[way].tf32
        found[way] = median_seconds(step_of(way, case, batch, "cuda"), budget)
        found.setdefault("gib", torch.cuda.max_memory_allocated() / 1024**3)
    return found


def count(case: str, batch: int) -> dict[str, float]:
    """Return the floating-point operations of our step: convolutions and products, forward and backward."""
    prepare_kernels(False)
    frozen_conv._PACKING = False  # torch counts only the convolutions it shows
    step = step_of("ours", case, batch)
    with FlopCounterMode(display=False) as counter:
        step(1)
    return {"flop": float(counter.get_total_flops())}


def _on_cpu(run: Run, cases: list[str], limit: float) -> Iterator[list[str]]:
    """Yield the rows of the table of a processor, the head first."""
    ways = ("plain", "plain, memory kept", "ours", "share", "ours, bfloat16", "share")
    yield ["case", "batch", *ways, "peak GiB", "GFLOP/s", ""]
    for case in cases:
        one = [run(case, 1, way)["seconds"] for way in ("plain", "plain, memory kept")]
        for batch in CASES[case][1]:
            found = run(case, batch, "ours")
            cells = [case, str(batch), *(f"{value * 1e3:.1f}" for value in one)]
            for seconds in (found["seconds"], run(case, batch, "ours, bfloat16")["seconds"]):
                cells += [f"{seconds * 1e3:.1f}", " / ".join(f"{seconds / batch / value:.2f}" for value in one)]
            speed = run(case, batch, "count")["flop"] / found["seconds"]
            yield [*cells, f"{found['gib']:.1f}", f"{speed / 1e9:.0f}", f"{speed / limit:.0%}"]


def _on_gpu(run: Run, cases: list[str]) -> Iterator[list[str]]:
    """Yield the rows of the table of a GPU, the head first: each way at each batch, and its share of the plain one."""
    yield ["case", "batch", *(title for way in _GPU_WAYS for title in (way, "share")), "peak GiB"]
    for case in cases:
        for batch in _GPU_BATCHES:
            plain_ways, own_ways = (run(case, batch, kind) for kind in ("plain", "own"))
            found = plain_ways | own_ways
            cells = [case, str(batch)]
            for way in _GPU_WAYS:
                cells += [f"{found[way] * 1e3:.2f}", f"{found[way] / found['plain']:.2f}"]
            yield [*cells, f"{found['gib']:.2f}"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", action="append", choices=tuple(CASES), help="default: all")
    parser.add_argument("--budget", type=float, default=8.0, help="seconds of timed steps per row and way")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--measure", nargs=3, metavar=("CASE", "BATCH", "WAY"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    budget, device = arguments.budget, arguments.device
    if arguments.measure:
        case, batch, way = arguments.measure
        if device == "cuda":
            found = measure_on_gpu(case, int(batch), way == "own", budget)
        else:
            found = count(case, int(batch)) if way == "count" else measure(case, int(batch), way, budget)
        print(json.dumps(found))
        return

    def run(case: str, batch: int, way: str) -> dict[str, float]:
        more = ["--budget", str(budget), "--device", device]
        return measure_apart("bench.projection_step", [case, str(batch), way, *more])

    cases = arguments.case or list(CASES)
    if device == "cpu":
        limit = product_speed()
        print(f"{machine(limit)}\n\nOne projection step, milliseconds.")
        print("Shares: our time per image against the plain way at batch 1 / against that with freed memory kept too.")
        print("Last columns: what our float32 step reaches of a large product's speed.\n")
        rows = _on_cpu(run, cases, limit)
    else:
        print(f"{machine()} GPU: {torch.cuda.get_device_name()}\n\nOne projection step of a batch, milliseconds.")
        print("Shares: against the plain way in float32 at the same batch.\n")
        rows = _on_gpu(run, cases)
    for number, row in enumerate(rows):
        print(f"| {' | '.join(row)} |", flush=True)
        if not number:
            print(f"|{'---|' * len(row)}", flush=True)


if __name__ == "__main__":
    main()
