"""Images per hour of `invert project --out FILE.h5` at 32 px, whole commands, beside the plain way one at a time.

    python -m bench.batch_throughput [--images 256] [--steps 300]

Network A, paper's preset. Plain: the step as the public projectors make it, one image after the other, in one process
that is already running. Slow ways do a share of the images; their speed is over those. Memory is the largest sum of
resident memory of the command's processes, read four times a second.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image

from bench.machine import machine
from bench.plain_projection import PlainProjection
from bench.side_by_side import measure_apart, prepare_kernels
from generator.files.reading import load
from invert.projection.perceptual import Perceptual

NETWORK = Path(__file__).parent.parent / "data" / "networks" / "A.safetensors"
# precision, batch, processes, threads of each, share of the images
WAYS = [
    ("float32", 1, 1, 2, 32),
    ("float32", 8, 1, 2, 8),
    ("float32", 32, 1, 2, 4),
    ("float32", 64, 1, 2, 4),
    ("float32", 1, 2, 1, 16),
    ("float32", 8, 2, 1, 8),
    ("float32", 32, 2, 1, 1),
    ("float32", 64, 2, 1, 2),
    ("bfloat16", 32, 2, 1, 2),
    ("bfloat16", 64, 2, 1, 2),
]


def plain_seconds(steps: int) -> float:
    """Return the seconds of one image done the plain way, from 40 of its steps."""
    prepare_kernels(False)
    generator = load(NETWORK).generator
    # The network's images are grey: LPIPS repeats them.
    pixels = torch.rand([1, 1, 32, 32], generator=torch.Generator().manual_seed(0)) * 2 - 1
    step = PlainProjection(generator, Perceptual(), pixels).step
    for index in range(5):
        step(index)
    started = time.perf_counter()
    for index in range(40):
        step(index)
    return (time.perf_counter() - started) / 40 * steps


def write_images(folder: Path, count: int) -> None:
    """Write real images and their mirror images, or whatever sample images there are, over and over with a mark."""
    samples = sorted((NETWORK.parent.parent / "samples").glob("*/*.png"))
    for index in range(count):
        array = np.asarray(Image.open(samples[index % len(samples)]).convert("L")).copy()
        array[0, 0] = index % 256  # each another image
        array[0, 1] = index // 256
        Image.fromarray(array).save(folder / f"{index:05d}.png")


def run(images: int, steps: int, precision: str, batch: int, workers: int, threads: int) -> dict[str, float]:
    """Run one command; return images per hour and the peak of memory in GiB."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "images"
        folder.mkdir()
        write_images(folder, images)
        command = [sys.executable, "-m", "invert", "project", str(folder), "--network", str(NETWORK), "-q"]
        command += ["--out", str(Path(name) / "a.h5"), "--steps", str(steps), "--batch", str(batch)]
        command += ["--workers", str(workers), "--threads", str(threads), "--precision", precision]
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        peak = 0
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            time.sleep(0.25)
        if process.returncode:
            raise RuntimeError(f"{command} ended with {process.returncode}")
        return {"per_hour": images / (time.perf_counter() - started) * 3600, "peak": peak / 2**30}


def resident(pid: int) -> int:
    """Return the resident memory of a process and those it started."""
    total = 0
    try:
        parent = psutil.Process(pid)
        for process in [parent, *parent.children(recursive=True)]:
            total += process.memory_info().rss
    except psutil.Error:
        pass
    return total


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--measure", nargs=1, metavar="STEPS", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps({"seconds": plain_seconds(int(arguments.measure[0]))}))
        return
    slow = 3600 / measure_apart("bench.batch_throughput", [str(arguments.steps)])["seconds"]
    print(f"{machine()}\n\n{arguments.images} images of 32 px, {arguments.steps} steps.\n")
    print("| precision | batch | workers x threads | images | images per hour | of plain | of batch 1 | peak GiB |")
    print("|---|---|---|---|---|---|---|---|")
    print(f"| plain | 1 | 1 x {torch.get_num_threads()} | 1 | {slow:.0f} | 1.0 | | |", flush=True)
    first = 0.0
    for precision, batch, workers, threads, share in WAYS:
        images = max(arguments.images // share, batch * workers)
        found = run(images, arguments.steps, precision, batch, workers, threads)
        first = first or found["per_hour"]
        way = f"{precision} | {batch} | {workers} x {threads} | {images}"
        values = f"{found['per_hour']:.0f} | {found['per_hour'] / slow:.1f} | {found['per_hour'] / first:.1f}"
        print(f"| {way} | {values} | {found['peak']:.1f} |", flush=True)


if __name__ == "__main__":
    main()
