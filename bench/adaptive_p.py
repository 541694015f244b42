"""How p of adaptive augmentation moves with few training images and with many.

The same small network is trained twice on garments of 16 px, on 50 of them and on all 60,000, with an ADA that may go
from none to all in few images. Beside p and the mean sign that moves it stands the mean sign for images that neither
run trains on: where the two signs part, the discriminator has learnt its images by heart.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from generator.training.config import TrainConfig
from generator.training.presets import TRAINING_PRESETS
from generator.training.trainer import Trainer
from invert.datasets.idx import read_images

__all__ = ["main"]

_SIDE = 16


class Garments:
    """Images of an IDX file, 28 px padded to 32 and averaged to 16; implements `generator.training.images.Images`.

    Args:
        path: The file.
    """

    resolution, channels, labels, classes = _SIDE, 1, None, 0

    def __init__(self, path: Path) -> None:
        images = np.pad(read_images(path), ((0, 0), (2, 2), (2, 2))).reshape(-1, _SIDE, 2, _SIDE, 2)
        self.array: NDArray[np.uint8] = images.mean(axis=(2, 4)).round().astype(np.uint8)[:, None]
        self.fingerprint = path.name

    def __len__(self) -> int:
        return len(self.array)

    def read(self, indices: "list[int] | NDArray[np.intp]") -> NDArray[np.uint8]:
        """Return images `[n, 1, 16, 16]`."""
        return self.array[np.asarray(indices, np.intp)]


@torch.no_grad()
def _sign(trainer: Trainer, images: Garments, count: int = 1024) -> float:
    """Return the mean sign of what the discriminator says of images as they are."""
    pixels = torch.from_numpy(images.read(list(range(count)))).float() / 127.5 - 1
    scores = [trainer.discriminator(part) for part in pixels.split(trainer.config.batch)]
    return float(torch.cat(scores).sign().mean())


def main() -> None:
    """Print how p and the signs went in both runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="Folder of Fashion-MNIST's IDX files.")
    parser.add_argument("--few", type=int, default=50, help="Images of the first run.")
    parser.add_argument("--kimg", type=float, default=12.0, help="Thousands of images that each run sees.")
    parser.add_argument("--rows", type=int, default=12, help="Rows that are printed of each run.")
    parser.add_argument("--augment-kimg", type=float, default=10.0, help="Thousands of images in which p can reach 1.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images = Garments(arguments.folder / "train-images-idx3-ubyte.gz")
    held_out = Garments(arguments.folder / "t10k-images-idx3-ubyte.gz")
    print("images   kimg     p  sign: training  held out")
    for subset in (arguments.few, 0):
        settings = {**TRAINING_PRESETS["tiny"].settings, "resolution": _SIDE, "channels": 1, "subset": subset}
        config = TrainConfig(**settings, augment="ada", augment_kimg=arguments.augment_kimg)
        trainer = Trainer(config, images)
        for row in range(1, arguments.rows + 1):
            trainer.reset_losses()
            for _ in trainer.run(round(1000 * arguments.kimg * row / arguments.rows)):
                pass
            own, other = trainer.losses()["real_sign"], _sign(trainer, held_out)
            p, kimg = trainer.augment_probability, trainer.images / 1000
            print(f"{len(trainer.data):6,}  {kimg:5.2f}  {p:.2f}  {own:14.2f}  {other:8.2f}", flush=True)


if __name__ == "__main__":
    main()
