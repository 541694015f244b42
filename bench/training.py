"""Images per second of training, all of it, beside the plain way: as the shipped networks, and 256 px as config E.

Whole cycles of the lazy regularisers (16 steps) with data, optimiser and averaging. Plain: weights per image and one
grouped convolution, portable operators that can all be differentiated twice, contiguous layout. bfloat16: ours with
`--precision bfloat16`. With --beside: two trainings of one thread each at once, and one of them alone.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from bench.machine import machine
from bench.side_by_side import measure_apart, prepare_kernels
from generator.errors import ConfigError
from generator.networks import Generator
from generator.stylegan2.layers import ModulatedConv2d, ToRGB
from generator.training import objectives
from generator.training.config import TrainConfig
from generator.training.presets import TRAINING_PRESETS
from generator.training.resolution_shares import SAMPLES, resolution_shares
from generator.training.trainer import Trainer
from invert.projection.session import keep_freed_memory

WAYS = ("plain", "ours", "bfloat16")
# resolution, preset, changes, images at a time, steps that are timed
CASES = {
    "32 px, small (shipped recipe)": (32, 1, "small", {}, None, 48),
    "32 px, stylegan-small": (32, 1, "stylegan-small", {}, None, 48),
    "32 px, small, batch 32": (32, 1, "small", {"batch": 32}, None, 32),
    "64 px, small, colour (faces)": (64, 3, "small", {"channel_base": 1024}, None, 16),
    "256 px, stylegan2-e, batch 4": (256, 3, "stylegan2-e", {"batch": 4}, None, 16),
}


class Noise:
    """Images of noise: what they show does not matter here."""

    labels = None
    classes = 0
    fingerprint = "noise"

    def __init__(self, resolution: int, channels: int) -> None:
        self.resolution, self.channels = resolution, channels
        shape = [64, channels, resolution, resolution]
        self._pixels = np.random.Generator(np.random.PCG64(0)).integers(0, 256, shape, np.uint8)

    def __len__(self) -> int:
        return len(self._pixels)

    def read(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        return self._pixels[list(indices)]


def config_of(case: str, way: str) -> TrainConfig | None:
    """Return the settings of a case; None where it cannot be trained in that way."""
    resolution, channels, preset, changes, _, _ = CASES[case]
    settings = {**TRAINING_PRESETS[preset].settings, **changes, "resolution": resolution, "channels": channels}
    try:
        return TrainConfig(**settings, precision="bfloat16" if way == "bfloat16" else "float32")
    except ConfigError:
        return None


def images_per_second(case: str, way: str) -> float:
    """Train one case for its steps and return the speed, the first steps left out."""
    config = config_of(case, way)
    assert config is not None
    resolution, channels, _, _, micro_batch, steps = CASES[case]
    trainer = Trainer(config, Noise(resolution, channels), micro_batch=micro_batch)
    if way == "plain":
        objectives.first_order_pass = lambda wanted=True: contextlib.nullcontext()  # type: ignore[assignment]
        to_images = trainer._real.to_images
        trainer._real.to_images = lambda pixels, stage: to_images(pixels, stage).contiguous()  # type: ignore[method-assign]
        for network in (trainer.generator, trainer.discriminator, trainer.average):
            network.to(memory_format=torch.contiguous_format)
            for module in network.modules():
                if isinstance(module, ModulatedConv2d | ToRGB):
                    module.form = "per_sample"
    batch = trainer.config.batch
    warm_up = 1 if resolution > 64 else 16
    started = 0.0
    for images in trainer.run((steps + warm_up) * batch):
        if images == warm_up * batch:
            started = time.perf_counter()
    return steps * batch / (time.perf_counter() - started)


def speeds_at_once(case: str, count: int) -> list[float]:
    """Return the images per second of so many trainings at once, each a process of one thread."""
    command = [sys.executable, "-m", "bench.training", "--threads", "1", "--measure", case, "ours"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(count)]
    return [json.loads(process.communicate()[0])["speed"] for process in processes]


def shares_seconds() -> float:
    """Return how many seconds of one core the shares of the resolutions take for `small` at 32 px."""
    torch.set_num_threads(1)
    settings = {**TRAINING_PRESETS["small"].settings, "resolution": 32, "channels": 1}
    generator = Generator(TrainConfig(**settings).generator_config()).eval()
    times = [time.process_time()]
    for _ in range(4):
        resolution_shares(generator)
        times.append(time.process_time())
    return min(after - before for before, after in pairwise(times))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", nargs=2, metavar=("CASE", "WAY"), help=argparse.SUPPRESS)
    parser.add_argument("--case", choices=tuple(CASES), help="this case alone; all of them where it is not said")
    parser.add_argument("--beside", action="store_true", help="time two trainings beside each other instead")
    parser.add_argument("--threads", type=int, default=0, help="threads of each process; 0: torch's own number")
    parser.add_argument("--shares", action="store_true", help="time the shares of the resolutions instead")
    arguments = parser.parse_args()
    if arguments.shares:
        print(f"{SAMPLES} samples: {shares_seconds():.2f} s of one core")
        return
    if arguments.measure:
        case, way = arguments.measure
        prepare_kernels(way != "plain")
        if way != "plain":
            keep_freed_memory()
        if arguments.threads:
            torch.set_num_threads(arguments.threads)
        print(json.dumps({"speed": images_per_second(case, way)}))
        return
    print(f"{machine()}\n\nTraining, images per second.\n")
    if arguments.beside:
        print("| case, one thread each | alone | beside another | share |")
        print("|---|---|---|---|")
        case = arguments.case or next(iter(CASES))
        alone, beside = (statistics.mean(speeds_at_once(case, count)) for count in (1, 2))
        print(f"| {case} | {alone:.2f} | {beside:.2f} | {beside / alone:.2f} |")
        return
    print("| case | plain | ours | ratio | bfloat16 | ratio |")
    print("|---|---|---|---|---|---|")
    options = ["--threads", str(arguments.threads)]
    for case in [arguments.case] if arguments.case else CASES:
        ways = [way for way in WAYS if config_of(case, way) is not None]
        plain, *others = (measure_apart("bench.training", [case, way, *options])["speed"] for way in ways)
        cells = [f"{plain:.2f}", *(f"{speed:.2f} | {speed / plain:.2f}" for speed in others)]
        print(f"| {case} | {' | '.join(cells + ['- | -'] * (len(WAYS) - len(ways)))} |", flush=True)


if __name__ == "__main__":
    main()
