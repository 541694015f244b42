"""Random images, in the forms in which the functions of `import invert` take them."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

QUICK: dict[str, Any] = {"steps": 3, "lpips": "alex", "threads": 1, "device": "cpu", "batch": 2}

Pixels = npt.NDArray[np.uint8]


def pixels(seed: int) -> Pixels:
    return np.random.RandomState(seed).randint(0, 256, [32, 32, 3], np.uint8)


def as_pil(seed: int) -> Image.Image:
    return Image.fromarray(pixels(seed))


def as_float(seed: int) -> torch.Tensor:
    return torch.from_numpy(pixels(seed)).permute(2, 0, 1).float() / 127.5 - 1


def as_bytes(seed: int) -> torch.Tensor:
    return torch.from_numpy(pixels(seed)).permute(2, 0, 1)
