"""Training runs side by side: what each has cost and what it generates, as a table and an image.

    python -m bench.families runs/stylegan runs/stylegan2 --real fashion32-test.zip --out docs/families.png

The distance is made as by `bench.sample_quality`, against the first --count real images.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.machine import machine
from bench.sample_quality import drawn_features, frechet_distance, real_features
from generator.files.reading import load
from invert.images.arrays import contact_sheet
from invert.projection.latents import seed_latent
from invert.projection.perceptual import Perceptual
from invert.projection.synthesis import synthesise_image

SEEDS = range(40)
COLUMNS = 8
SCALE = 2


def grid(network: Path) -> NDArray[np.uint8]:
    """Return the images of the first seeds, as `invert generate` gives them, without truncation."""
    generator = load(network).generator.eval()
    ws = [generator.mapping_ws(seed_latent(seed, generator.config.mapping.z_dim)) for seed in SEEDS]
    images = [synthesise_image(generator, w, "const", seed) for w, seed in zip(ws, SEEDS, strict=True)]
    return contact_sheet(images, COLUMNS).repeat(SCALE, 0).repeat(SCALE, 1)


def ticks(run: Path) -> list[dict[str, float]]:
    """Return the ticks of a run's log."""
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [one for one in records if "images_per_second" in one]


def main() -> None:
    """Print the table and write the image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--real", required=True, metavar="DATA")
    parser.add_argument("--count", type=int, default=2000, help="images of each kind for the distance")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    perceptual = Perceptual("vgg")
    real = real_features(perceptual, arguments.real, arguments.count)
    print(f"{machine()}\n")
    print("| run | generator, parameters | images seen | img/s | minutes | Frechet distance |")
    print("|---|---|---|---|---|---|")
    for run in arguments.runs:
        found, network = ticks(run), run / "network.safetensors"
        seen, speed = found[-1]["images"], float(np.median([one["images_per_second"] for one in found]))
        size = sum(parameter.numel() for parameter in load(network).generator.parameters())
        distance = frechet_distance(drawn_features(perceptual, str(network), arguments.count), real)
        cells = (run.name, f"{size:,}", f"{seen:,}", f"{speed:.1f}", f"{seen / speed / 60:.1f}", f"{distance:.0f}")
        print(f"| {' | '.join(cells)} |", flush=True)
    grids = [grid(run / "network.safetensors") for run in arguments.runs]
    gap = np.full([len(grids[0]), 16, grids[0].shape[2]], 255, np.uint8)
    row = np.concatenate([piece for one in grids for piece in (gap, one)][1:], axis=1)
    Image.fromarray(row.squeeze(-1) if row.shape[-1] == 1 else row).save(arguments.out)


if __name__ == "__main__":
    main()
