"""The search for seeds: what a sweep costs, how many own images it names, and whether it names others.

    python -m bench.seed_search [--seeds 1000000] [--threads 1] [--images 40] [--maximum 100000]
        [--processings "none jpeg:75"] [--declared auto] [--restarts 3] [--foreign 20]

The first part sweeps --seeds seeds of an untrained network with a mapping of 8 layers of 512 for --images images, and
prints seconds (by the clock, and of all processors) and peak memory. The second generates --images images of network A
from seeds spread below --maximum, a quarter each with psi 1 and 0.7 and with stored noise and that of the seed's
stream, lets them go through each processing, and searches for them among --maximum seeds, as `invert seed` does; then
the same for --foreign real images and images of network B. Either part is left out with 0. With several threads beside
other programs GOMP_SPINCOUNT=1000 lets them wait as those of the command do.
"""

import argparse
import resource
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bench.exact_inversion import origin, processed
from bench.machine import machine
from bench.populations import NETWORKS
from generator.config import GeneratorConfig, MappingConfig
from generator.layers import freeze
from generator.networks import Generator
from generator.stylegan2.config import SynthesisConfig
from invert.api import find_seeds, load
from invert.projection.processing import Processing
from invert.projection.session import prepare_process
from invert.projection.synthesis import synthesise_image
from invert.seeds.recovered import Recovered, View
from invert.seeds.search import SeedAnswer
from invert.seeds.sweep import map_seeds, sweep

_Image = NDArray[np.uint8]

_KINDS = [(1.0, "fixed"), (0.7, "fixed"), (1.0, "stream"), (0.7, "stream")]


@dataclass(frozen=True)
class Own:
    """An image of network A and what it was generated from."""

    image: _Image
    seed: int
    psi: float
    noise: str


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


def own_images(count: int, maximum: int) -> list[Own]:
    """Generate images of network A from seeds spread below a maximum."""
    generator = load(NETWORKS / "A.safetensors").generator.eval()
    found = []
    for number, seed in enumerate(np.random.RandomState(1).randint(maximum, size=count).tolist()):
        psi, noise = _KINDS[number % len(_KINDS)]
        with torch.inference_mode():
            ws = generator.mapping_ws(map_seeds_z(generator, seed), truncation_psi=psi)
        found.append(Own(synthesise_image(generator, ws, noise, seed), seed, psi, noise))
    return found


def map_seeds_z(generator: Generator, seed: int) -> torch.Tensor:
    """Return z `[1, z_dim]` of a seed, drawn by numpy itself."""
    return torch.from_numpy(np.random.RandomState(seed).randn(1, generator.config.mapping.z_dim)).float()


def search(images: Sequence[_Image], given: argparse.Namespace) -> list[SeedAnswer]:
    """Return what `invert seed` says of images."""
    settings = {"processing": given.declared, "restarts": given.restarts, "threads": given.threads}
    network = load(NETWORKS / "A.safetensors")
    return list(find_seeds([image[..., 0] for image in images], network, maximum=given.maximum, **settings))


def measure_names(given: argparse.Namespace) -> None:
    """Print how many images are named."""
    own = own_images(given.images, given.maximum) if given.maximum else []
    others = {name: origin(name, given.foreign, "const") for name in ("real", "B") if given.foreign}
    print("| processing | images | n | named rightly | named wrongly | s of processors an image |")
    print("|---|---|---|---|---|---|", flush=True)
    for processing in given.processings.split():
        start = time.process_time()
        images = [processed(one.image, processing, f"seed/{one.seed}") for one in own]
        answers = search(images, given) if own else []
        seconds = (time.process_time() - start) / max(1, len(own))
        right, wrong, reasons = Counter[tuple[float, str]](), Counter[tuple[float, str]](), []
        for one, answer in zip(own, answers, strict=True):
            named, kind = answer.named, (one.psi, one.noise)
            found = None if named is None else (named.seed, named.truncation_psi, named.noise)
            right[kind] += found == (one.seed, *kind)
            wrong[kind] += found is not None and found[0] != one.seed
            if found != (one.seed, *kind):
                reasons.append(
                    f"{processing}: seed {one.seed}, psi {one.psi}, {one.noise}: found {found}, "
                    f"rms {answer.projection_rms:.2f}, {answer.processing}: {answer.reason}"
                )
        for psi, noise in _KINDS if own else ():
            kind, count = (psi, noise), sum((one.psi, one.noise) == (psi, noise) for one in own)
            cells = [processing, f"A, psi {psi:g}, {noise}", count, right[kind], wrong[kind], f"{seconds:.1f}"]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)
        for name, foreign in others.items():
            start = time.process_time()
            images = [processed(image, processing, f"{name}/{i}") for i, image in enumerate(foreign)]
            named = sum(answer.named is not None for answer in search(images, given))
            cells = [processing, name, len(foreign), 0, named, f"{(time.process_time() - start) / len(foreign):.1f}"]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)
        print("\n".join(f"  {reason}" for reason in reasons), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--maximum", type=int, default=100_000)
    parser.add_argument("--processings", default="none jpeg:75")
    parser.add_argument("--declared", default="auto", help="what the search is told of the processing")
    parser.add_argument("--restarts", type=int, default=3)
    parser.add_argument("--foreign", type=int, default=20)
    given = parser.parse_args()
    if given.seeds:
        measure_sweep(given.seeds, given.images, given.threads)
    if given.maximum:
        measure_names(given)


if __name__ == "__main__":
    main()
