"""How p of adaptive augmentation moves with few training images and with many.

    python -m bench.adaptive_p runs/fashion32.zip runs/emoji64.zip --few 50 0

The same network is trained on some images of each data set and on all of them, with an ADA that may go from none to all
in few images. Beside p and the mean sign that moves it stands the mean sign for images of the data set that the run
does not train on: where the two signs part, the discriminator has learnt its images by heart.
"""

import argparse
from contextlib import closing
from pathlib import Path

import numpy as np
import torch

from generator.training.config import TrainConfig
from generator.training.images import Images, Subset
from generator.training.presets import TRAINING_PRESETS
from generator.training.trainer import Trainer
from invert.datasets.training_images import open_images
from invert.projection.process import prepare_process

__all__ = ["main"]

_HELD_OUT = 1024


def _held_out(data: Images, images: Images) -> torch.Tensor | None:
    """Return images that a run does not train on, -1 to 1, or None where it trains on all."""
    if not isinstance(data, Subset):
        return None
    others = np.setdiff1d(np.arange(len(images)), data.indices)[:_HELD_OUT]
    return torch.from_numpy(images.read(others.tolist())).float() / 127.5 - 1


@torch.no_grad()
def _sign(trainer: Trainer, pixels: torch.Tensor) -> float:
    """Return the mean sign of what the discriminator says of images as they are."""
    scores = [trainer.discriminator(part) for part in pixels.split(trainer.config.batch)]
    return float(torch.cat(scores).sign().mean())


def main() -> None:
    """Print how p and the signs went in each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="training images, as `invert train --data` takes them")
    parser.add_argument("--few", type=int, nargs="+", default=[50, 0], help="images of each run; 0 for all")
    parser.add_argument("--config", default="small", choices=sorted(TRAINING_PRESETS), help="preset of all runs")
    parser.add_argument("--kimg", type=float, default=24.0, help="thousands of images that each run sees")
    parser.add_argument("--rows", type=int, default=12, help="rows that are printed of each run")
    parser.add_argument("--augment-kimg", type=float, default=20.0, help="thousands of images in which p can reach 1")
    arguments = parser.parse_args()
    prepare_process("cpu", threads=1, on_message=print)
    print("| data | images | kimg | p | sign: training | others |\n|---|---|---|---|---|---|")
    for path in arguments.data:
        with closing(open_images(path)) as images:
            for subset in arguments.few:
                _run(path.stem, images, subset, arguments)


def _run(name: str, images: Images, subset: int, arguments: argparse.Namespace) -> None:
    settings = {
        **TRAINING_PRESETS[arguments.config].settings,
        "resolution": images.resolution,
        "channels": images.channels,
        "subset": subset,
    }
    trainer = Trainer(TrainConfig(**settings, augment="ada", augment_kimg=arguments.augment_kimg), images)
    others = _held_out(trainer.data, images)
    for row in range(1, arguments.rows + 1):
        trainer.reset_losses()
        for _ in trainer.run(round(1000 * arguments.kimg * row / arguments.rows)):
            pass
        sign = "-" if others is None else f"{_sign(trainer, others):.2f}"
        numbers = f"{trainer.images / 1000:.1f} | {trainer.augment_probability:.2f}"
        own = trainer.losses()["real_sign"]
        print(f"| {name} | {len(trainer.data):,} | {numbers} | {own:.2f} | {sign} |", flush=True)


if __name__ == "__main__":
    main()
