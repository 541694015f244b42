"""How near own images of a StyleGAN3 network come that were shifted and turned: with their motion optimised or not.

    python -m bench.moved_images

The network is a random one (configuration T, 32 px, seed 0) whose images have contrast. Its images of the seeds 100 to
107 are projected as they are, and shifted by 5 % to the right and 5 % up and turned by 10 degrees.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch

import invert
from generator.config import GeneratorConfig, MappingConfig
from generator.files.invert_format import save_network
from generator.networks import Generator
from generator.stylegan3.config import StyleGAN3SynthesisConfig

W_DIM = 16
SEEDS = range(100, 108)
MOTION = {"translate": (0.05, -0.05), "rotate": 10.0}


def write_network(path: Path) -> None:
    """Write the network: random weights, the magnitudes of its layers measured so that its images have contrast."""
    torch.manual_seed(0)
    synthesis = StyleGAN3SynthesisConfig(
        W_DIM,
        32,
        channel_base=256,
        channel_max=8,
        num_layers=4,
        margin_size=5,
        output_scale=0.7,
        magnitude_ema_beta=0.0,
    )
    generator = Generator(GeneratorConfig(MappingConfig(W_DIM, 0, W_DIM, 2), synthesis))
    with torch.no_grad():
        generator.mapping.w_avg.copy_(generator.mapping(torch.randn(500, W_DIM)).mean(0))
        ws = generator.mapping_ws(torch.randn(16, W_DIM))
        for _ in synthesis.layers:  # the magnitudes of the layers' inputs, each known once those before it are
            generator.synthesis(ws)
            generator.synthesis.follow(generator.synthesis.magnitudes())
    save_network(path, generator)


def main() -> None:
    """Print the median and the largest distance of the eight images, each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.safetensors"
        write_network(path)
        for name, motion, transform in (
            ("as they are", {}, "fixed"),
            ("moved", MOTION, "fixed"),
            ("moved, --transform optimise", MOTION, "optimise"),
        ):
            images = np.stack(list(invert.generate(path, SEEDS, **motion)))  # type: ignore[arg-type]
            settings = {
                "preset": "verdict",
                "steps": arguments.steps,
                "lpips": "alex",
                "bank": 100,
                "transform": transform,
            }
            found = sorted(result.distance for result in invert.project(images, path, **settings))
            print(f"{name:<30} median {statistics.median(found):.4f}  largest {found[-1]:.4f}", flush=True)


if __name__ == "__main__":
    main()
