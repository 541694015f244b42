"""How well preset exact explains images of a network, and those of others, after known processing.

    python -m bench.exact_inversion [--images 12] [--processings "none blur:1 resize:0.5 jpeg:75 noise:5"]
        [--origins "A,B,real"] [--noise fixed] [--restarts 3] [--json FILE]

Prints a row of a Markdown table for each processing and origin: the smallest, median and largest Q and rms, iterations,
and seconds of processor time of an image. Seeds and indices are those of no bank, whitening, calibration or test.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from bench.machine import machine
from bench.populations import FASHION_MNIST, NETWORKS, fashion
from generator.files.reading import load
from invert.attribution.perturbations import apply, parse_perturbations
from invert.images.target import target_of
from invert.projection.config import ProjectConfig, with_defaults
from invert.projection.exact import ExactProjector
from invert.projection.latents import seed_latent
from invert.projection.projector import Projection
from invert.projection.session import open_session
from invert.projection.synthesis import synthesise_image

_Image = NDArray[np.uint8]

SEED, INDEX = 900_000, 5000  # of the samples, and of the real images
SAMPLES = Path(__file__).parent.parent / "data" / "samples" / "real"


def origin(name: str, count: int, noise: str) -> list[_Image]:
    """Return images `[H, W, 1]` of a network, such as "A" or "B psi 0.5", or of the Fashion-MNIST test set."""
    if name == "real":
        if FASHION_MNIST.exists():
            return [np.pad(image, 2)[:, :, None] for image in fashion(FASHION_MNIST, "t10k")[INDEX : INDEX + count]]
        paths = sorted(SAMPLES.glob("*.png"))[:count]
        return [np.asarray(Image.open(path))[:, :, None] for path in paths]
    network, _, psi = name.partition(" psi ")
    generator = load(NETWORKS / f"{network}.safetensors").generator.eval()
    images = []
    with torch.inference_mode():
        for seed in range(SEED, SEED + count):
            z = seed_latent(seed, generator.config.mapping.z_dim)
            ws = generator.mapping_ws(z, truncation_psi=float(psi or 1))
            images.append(synthesise_image(generator, ws, noise, seed).reshape(32, 32, 1))
    return images


def processed(image: _Image, processing: str, key: str) -> _Image:
    """Return an image after each of the steps."""
    for step in [] if processing == "none" else processing.split("+"):
        (perturbation,) = parse_perturbations(step)
        image = apply(image, perturbation, key)
    return image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--processings", default="none blur:1 resize:0.5 jpeg:75 noise:5")
    parser.add_argument("--origins", default="A,B,real")
    parser.add_argument("--noise", default="fixed", help="what the search assumes: fixed, optimise or both")
    parser.add_argument("--drawn", default="const", help="noise maps of the images: const or random")
    parser.add_argument("--declared", help="what the search is told of the processing, if not what happened")
    parser.add_argument("--restarts", type=int, default=3)
    parser.add_argument("--steps", type=int, default=14)
    parser.add_argument("--network", default="A")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = []
    print(f"{machine()}\n")
    print("| processing | origin | n | Q least, median, most | rms | iterations | s |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for processing in given.processings.split():
        settings = {"noise": given.noise, "restarts": given.restarts, "steps": given.steps, "threads": 1}
        settings["processing"] = given.declared or processing
        config = ProjectConfig(**with_defaults({"preset": "exact", **settings}))
        projector = open_session(NETWORKS / f"{given.network}.safetensors", config).projector()
        if not isinstance(projector, ExactProjector):
            raise TypeError("preset exact has another projector")
        for name in given.origins.split(","):
            targets = [
                target_of(processed(image, processing, f"{name}/{i}")[..., 0], 32, 1, name=f"{name} {i}")
                for i, image in enumerate(origin(name, given.images, given.drawn))
            ]
            start = time.process_time()
            found = [event.explanation for event in projector.run(targets) if isinstance(event, Projection)]
            seconds = (time.process_time() - start) / len(found)
            q, rms, count = (np.array([getattr(one, key) for one in found]) for key in ("q", "rms", "iterations"))
            spread = ", ".join(f"{value:,.0f}" for value in (q.min(), np.median(q), q.max()))
            levels = ", ".join(f"{value:.2f}" for value in (rms.min(), np.median(rms), rms.max()))
            cells = [processing, name, str(len(found)), spread, levels, f"{np.median(count):.0f}", f"{seconds:.1f}"]
            print(f"| {' | '.join(cells)} |", flush=True)
            rows.append({"processing": processing, "origin": name, "q": q.tolist(), "rms": rms.tolist()})
    if given.json is not None:
        given.json.write_text(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
