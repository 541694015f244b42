"""Images per second of training, all of it, beside the plain way: 32 px as the shipped networks, 256 px as config E.

Whole cycles of the lazy regularisers (16 steps) with data, optimiser and averaging. Plain: weights per image and one
grouped convolution, portable operators, contiguous layout.
"""

import argparse
import json
import time
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from bench.machine import machine
from bench.side_by_side import measure_apart, prepare_kernels
from generator.networks import Generator
from generator.stylegan2.layers import ModulatedConv2d, ToRGB
from generator.training.config import TrainConfig
from generator.training.presets import TRAINING_PRESETS
from generator.training.resolution_shares import SAMPLES, resolution_shares
from generator.training.trainer import Trainer
from invert.projection.session import keep_freed_memory

WAYS = ("plain", "ours")
# resolution, preset, changes, images at a time, steps that are timed
CASES = {
    "32 px, small (shipped recipe)": (32, 1, "small", {}, None, 48),
    "32 px, stylegan-small": (32, 1, "stylegan-small", {}, None, 48),
    "32 px, small, batch 32": (32, 1, "small", {"batch": 32}, None, 32),
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


def images_per_second(case: str, way: str) -> float:
    """Train one case for its steps and return the speed, the first steps left out."""
    resolution, channels, preset, changes, micro_batch, steps = CASES[case]
    settings = {**TRAINING_PRESETS[preset].settings, **changes, "resolution": resolution, "channels": channels}
    trainer = Trainer(TrainConfig(**settings), Noise(resolution, channels), micro_batch=micro_batch)
    if way == "plain":
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
    parser.add_argument("--shares", action="store_true", help="time the shares of the resolutions instead")
    arguments = parser.parse_args()
    if arguments.shares:
        print(f"{SAMPLES} samples: {shares_seconds():.2f} s of one core")
        return
    if arguments.measure:
        case, way = arguments.measure
        prepare_kernels(way == "ours")
        if way == "ours":
            keep_freed_memory()
        print(json.dumps({"speed": images_per_second(case, way)}))
        return
    print(f"{machine()}\n\nTraining, images per second.\n")
    print("| case | plain | ours | ratio |")
    print("|---|---|---|---|")
    for case in CASES:
        plain, ours = (measure_apart("bench.training", [case, way])["speed"] for way in WAYS)
        print(f"| {case} | {plain:.2f} | {ours:.2f} | {ours / plain:.2f} |", flush=True)


if __name__ == "__main__":
    main()
