"""How much a verdict depends on the batch and on the threads: the table of docs/verdicts.md.

    python -m bench.batch_and_threads [--network A] [--work runs/batch-and-threads]

The same images are measured in batches of several sizes and with several threads: those of data/samples, and samples
of the network itself up to 200. All runs are compared with the first one, whose batch is the default. What is measured
is kept in the work folder, so that the same command goes on where it was stopped.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from bench.populations import NETWORKS
from generator.files.reading import load
from invert.attribution.calibration import Calibration
from invert.attribution.calibration_file import read_calibration
from invert.attribution.evidence import EvidenceMeter
from invert.attribution.measurements import Measurement
from invert.attribution.measuring import measure_population
from invert.attribution.settings import SCORES
from invert.attribution.verdict import decide
from invert.batch.images import Listed, list_images
from invert.durable import ensure_folder, write_atomic
from invert.images.decoding import to_png_bytes
from invert.projection.latents import seed_latent
from invert.projection.records import config_of
from invert.projection.session import open_session
from invert.projection.synthesis import synthesise_image

WAYS = ((8, 1), (32, 1), (8, 2), (1, 1), (1, 2))
IMAGES = 200
FIRST_SEED = 500


def images_of(network: Path, work: Path) -> list[Listed]:
    """Return the images: what the project brings, and fresh samples of the network."""
    found = list(list_images([NETWORKS.parent / "samples"]))
    generator = load(network).generator
    for seed in range(FIRST_SEED, FIRST_SEED + IMAGES - len(found)):
        path = ensure_folder(work / "own") / f"seed{seed}.png"
        if not path.exists():
            with torch.inference_mode():
                ws = generator.mapping_ws(seed_latent(seed, generator.config.mapping.z_dim))
            write_atomic(path, to_png_bytes(synthesise_image(generator, ws, "random" if seed % 2 else "const", seed)))
        found.append(Listed(path.name.encode(), path))
    return found


def measure(
    network: Path, calibration: Calibration, images: Sequence[Listed], way: tuple[int, int], work: Path
) -> list[Measurement]:
    """Measure the images in batches of a size, with so many threads."""
    batch, threads = way
    config = dataclasses.replace(config_of(dict(calibration.method)), batch=batch, threads=threads, device="cpu")
    loaded = load(network)
    session = open_session(loaded, config)
    meter = EvidenceMeter(loaded.generator, device="cpu")
    found, failed = measure_population(
        session, work / f"batch{batch}-threads{threads}", images, 1, lambda _: None, meter
    )
    if failed:
        raise RuntimeError(f"{failed} images could not be measured")
    print(f"batch {batch}, {threads} threads: {len(found)} images", file=sys.stderr, flush=True)
    return found


def row(calibration: Calibration, usual: Sequence[Measurement], found: Sequence[Measurement]) -> list[str]:
    """Return the cells of a way, compared with the usual one."""
    before, after = (np.array([one.distance for one in part]) for part in (usual, found))
    moved = np.abs(after / before - 1)
    cells = [f"{100 * np.median(moved):.2f} %", f"{100 * np.quantile(moved, 0.95):.1f} %", f"{100 * moved.max():.0f} %"]
    for score in SCORES[::-1]:
        change = [
            abs(calibration.score(score, b) - calibration.score(score, a)) for a, b in zip(usual, found, strict=True)
        ]
        cells.append(f"{np.median(change):.3f} / {np.quantile(change, 0.95):.2f} / {np.max(change):.2f}")
    verdicts = [[decide([calibration], [one], ["it"]).outcome for one in part] for part in (usual, found)]
    flips = [f"{one} -> {two}" for one, two in zip(*verdicts, strict=True) if one != two]
    told = ", ".join(f"{flips.count(flip)} {flip}" for flip in sorted(set(flips)))
    return [*cells, f"{len(flips)}{f': {told}' if told else ''}"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="A", help="network of data/networks that has a calibration")
    parser.add_argument("--work", type=Path, default=Path("runs/batch-and-threads"))
    arguments = parser.parse_args()
    network = NETWORKS / f"{arguments.network}.safetensors"
    calibration = read_calibration(network.with_suffix(".calibration.json"))
    work = arguments.work / arguments.network
    images = images_of(network, work)
    print("| batch | threads | distance moves by: median | 95 % | most | evidence | LPIPS | verdicts that change |")
    print("|---|---|---|---|---|---|---|---|")
    usual: Sequence[Measurement] = ()
    for way in WAYS:
        found = measure(network, calibration, images, way, work)
        usual = usual or found
        print(f"| {way[0]} | {way[1]} | {' | '.join(row(calibration, usual, found))} |", flush=True)


if __name__ == "__main__":
    main()
