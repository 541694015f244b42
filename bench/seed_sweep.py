"""What a sweep over seeds costs, of a network with a mapping of 8 layers of 512.

    python -m bench.seed_sweep [--seeds 1000000] [--threads 1] [--images 40]

Prints seconds (by the clock, and of all processors) and peak memory. With several threads beside other programs
GOMP_SPINCOUNT=1000 lets them wait as those of the command do. How many images are named, and whether any other is, is
measured by `python -m bench.attribution --only seeds`.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import torch

from bench.machine import machine
from generator.config import GeneratorConfig, MappingConfig
from generator.layers import freeze
from generator.networks import Generator
from generator.stylegan2.config import SynthesisConfig
from invert.projection.processing import Processing
from invert.projection.session import prepare_process
from invert.seeds.recovered import Recovered, View
from invert.seeds.sweep import map_seeds, sweep


def measure_sweep(seeds: int, images: int, threads: int) -> None:
    """Print what a sweep costs."""
    prepare_process("cpu", threads, print)
    synthesis = SynthesisConfig(w_dim=512, img_resolution=32, channel_base=512, channel_max=32, img_channels=1)
    generator = Generator(GeneratorConfig(MappingConfig(512, 0, 512, 8), synthesis))
    freeze(generator)
    w = map_seeds(generator, torch.arange(images) * (seeds // images), None)
    black = np.zeros([32, 32, 1], np.uint8)
    views = [
        View(generator, Recovered(Path(str(i)), black, w[i : i + 1].numpy(), {}, Processing(), 1.0, 1.0))
        for i in range(images)
    ]
    wall, process = time.monotonic(), time.process_time()
    found = sweep(generator, views, seeds, [None])
    wall, process = time.monotonic() - wall, time.process_time() - process
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    first = sum(int(one.seeds[0]) == i * (seeds // images) for i, one in enumerate(found))
    print(f"{machine()}\n")
    print("| seeds | images | threads | s | s of processors | peak MB | first |")
    print("|---|---|---|---|---|---|---|")
    print(f"| {seeds} | {images} | {threads} | {wall:.1f} | {process:.1f} | {peak:.0f} | {first} |\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", type=int, default=40)
    given = parser.parse_args()
    measure_sweep(given.seeds, given.images, given.threads)


if __name__ == "__main__":
    main()
