"""Whole commands as a user types them, start-up included, beside a program that does the same by the plain loop.

    python -m bench.whole_commands [--images 64] [--steps 300] [--large-steps 1000] [--rounds 2]

64 images of 32 px by network A, to an HDF5 file and to a folder, with the default batch and with --batch 32; and one
image of an untrained colour network of 256 px. The plain program starts, reads network and LPIPS, maps 10,000 z and
searches one image after the other; its loop does a share of the steps, and its time is what start-up took and so many
times what a step took. Every way runs --rounds times, in turn, and the fastest run counts.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.batch_throughput import NETWORK, write_images
from bench.machine import machine
from bench.plain_projection import PlainProjection
from bench.side_by_side import prepare_kernels
from generator.config import GeneratorConfig, MappingConfig
from generator.files.invert_format import save_network
from generator.files.reading import load
from generator.networks import Generator
from generator.stylegan2.config import SynthesisConfig
from invert.images.decoding import ImagePolicy
from invert.images.target import read_target
from invert.projection.latents import latent_statistics
from invert.projection.perceptual import Perceptual

_TIMED = 20  # steps of the plain loop, after _FIRST that are not
_FIRST = 3
_LARGE = 256


@dataclass(frozen=True)
class Job:
    """What is to be done.

    Attributes:
        title: Its name in the table.
        network: The network.
        images: A folder of images.
        count: How many there are.
        steps: Of each.
    """

    title: str
    network: Path
    images: Path
    count: int
    steps: int

    def command(self, out: str, batch: int | None) -> list[str]:
        """Return the command of `invert`, which writes to `out`."""
        command = [sys.executable, "-m", "invert", "project", str(self.images), "--network", str(self.network)]
        command += ["--steps", str(self.steps), "--preset", "paper", "--out", out, "-q"]
        return command if batch is None else [*command, "--batch", str(batch)]


def plain(network: Path, images: Path) -> float:
    """Do a few steps of the first image by the plain loop, and return the seconds of one."""
    prepare_kernels(False)
    generator = load(network).generator.eval().requires_grad_(False)
    config = generator.config.synthesis
    statistics = latent_statistics(generator)
    target = read_target(min(images.iterdir()), config.img_resolution, config.img_channels, ImagePolicy())
    step = PlainProjection(generator, Perceptual(), target.pixels, statistics).step
    for index in range(_FIRST):
        step(index)
    began = time.perf_counter()
    for index in range(_FIRST, _FIRST + _TIMED):
        step(index)
    return (time.perf_counter() - began) / _TIMED


def plain_seconds(job: Job) -> float:
    """Return what the plain program takes for a job, from a run of a few steps."""
    command = [sys.executable, "-m", "bench.whole_commands", "--plain", str(job.network), str(job.images)]
    began = time.perf_counter()
    step = float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    start_up = time.perf_counter() - began - (_FIRST + _TIMED) * step
    return start_up + job.count * job.steps * step


def our_seconds(job: Job, suffix: str, batch: int | None) -> float:
    """Run the command once, to a new file or folder, and return the seconds it took."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        subprocess.run(job.command(f"{folder}/out{suffix}", batch), check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began


def write_large(path: Path) -> None:
    """Write an untrained colour network of 256 px, as narrow ones are."""
    torch.manual_seed(0)
    synthesis = SynthesisConfig(512, _LARGE, channel_base=16384, channel_max=512, img_channels=3)
    save_network(path, Generator(GeneratorConfig(MappingConfig(512, 0, 512, 8), synthesis)).eval())


def jobs(folder: Path, images: int, steps: int, large_steps: int) -> list[Job]:
    """Return what is to be done, with images and networks in a folder."""
    many, one, network = folder / "many", folder / "one", folder / "large.safetensors"
    for part, count in ((many, images), (one, 1)):
        part.mkdir()
        write_images(part, count)
    write_large(network)
    return [
        Job(f"{images} images of 32 px, {steps} steps", NETWORK, many, images, steps),
        Job(f"one image of {_LARGE} px, {large_steps} steps", network, one, 1, large_steps),
    ]


def rows(job: Job, rounds: int) -> Sequence[str]:
    """Measure a job's ways in turn, so many times, and return the rows of the table."""
    ways: dict[str, tuple[str, int | None]] = {"to a folder": ("", None)}
    if job.count > 1:
        ways = {
            "to .h5": (".h5", None),
            "to a folder": ("", None),
            "to .h5, --batch 32": (".h5", 32),
        }
    slow, found = float("inf"), dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        slow = min(slow, plain_seconds(job))
        for name, (suffix, batch) in ways.items():
            found[name] = min(found[name], our_seconds(job, suffix, batch))
    lines = [f"| {job.title} | plain | {slow:.0f} | {job.count / slow * 3600:.0f} | 1.0 |"]
    for name, seconds in found.items():
        per_hour = job.count / seconds * 3600
        lines.append(f"| {job.title} | {name} | {seconds:.1f} | {per_hour:.0f} | {slow / seconds:.1f} |")
    return lines


def main(given: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--large-steps", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--plain", nargs=2, type=Path, metavar=("NETWORK", "IMAGES"), help=argparse.SUPPRESS)
    arguments = parser.parse_args(given)
    if arguments.plain:
        print(plain(*arguments.plain))
        return
    print(f"{machine()}\n\n| what | way | seconds | images per hour | of plain |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for job in jobs(Path(folder), arguments.images, arguments.steps, arguments.large_steps):
            print("\n".join(rows(job, arguments.rounds)), flush=True)


if __name__ == "__main__":
    main()
