"""How much LPIPS changes by its backbone being kept in float16: `python -m bench.lpips_precision`.

The float32 weights are not at hand. But each of them lies somewhere in the interval of numbers that float16 rounds to
the one that is kept, so backbones drawn from these intervals are as far from the kept one as the original is.
"""

import itertools
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from invert.projection.perceptual import NETS, Perceptual

SAMPLES = Path("data/samples")
SIZES = {32: 64, 256: 12}
"""Side of the images in pixels, and how many pairs of each kind are compared at it."""
DRAWS = 4


def images(folder: str, count: int, size: int) -> Tensor:
    """Return the first images of a folder, `[count, 1, size, size]` in [-1, 1]."""
    arrays = []
    for path in sorted((SAMPLES / folder).glob("*.png"))[:count]:
        with Image.open(path) as image:
            arrays.append(np.asarray(image.convert("L").resize((size, size), Image.Resampling.LANCZOS)))
    return torch.from_numpy(np.stack(arrays)).float()[:, None] / 127.5 - 1


def unrounded(weight: Tensor, rng: np.random.Generator) -> Tensor:
    """Return float32 numbers that float16 rounds to these, drawn evenly from all that do."""
    kept = weight.numpy().astype(np.float16)
    low, high = (np.nextafter(kept, np.float16(end)).astype(np.float64) for end in (-np.inf, np.inf))
    middle = kept.astype(np.float64)
    drawn = rng.uniform((low + middle) / 2, (middle + high) / 2).astype(np.float32)
    drawn = np.where(drawn.astype(np.float16) == kept, drawn, kept.astype(np.float32))  # at an interval's end
    return torch.from_numpy(drawn)


@torch.inference_mode()
def distances(metric: Perceptual, pairs: tuple[Tensor, Tensor]) -> Tensor:
    """Return LPIPS of each pair."""
    one, other = pairs
    found = [metric.distance(a[None], metric.prepare(b[None]))[0] for a, b in zip(one, other, strict=True)]
    return torch.cat([distance.reshape(1) for distance in found])


def main() -> None:
    """Print the table."""
    print(f"LPIPS of float16 backbones against {DRAWS} float32 ones that round to them.\n")
    print("| backbone | images | pairs | distances | mean change | largest change |")
    print("|---|---|---|---|---|---|")
    for net, (size, count) in itertools.product(NETS, SIZES.items()):
        samples, noise = images("A", count, size), torch.Generator().manual_seed(0)
        kinds = {
            "A and B": images("B", count, size),
            "A, noise of 10 / 255": samples + 20 / 255 * torch.randn(samples.shape, generator=noise),
        }
        before = {kind: distances(Perceptual(net), (samples, others)) for kind, others in kinds.items()}
        changes: dict[str, list[Tensor]] = {kind: [] for kind in kinds}
        for draw in range(DRAWS):
            metric, rng = Perceptual(net), np.random.Generator(np.random.PCG64(draw))
            for module in metric.model.net.modules():
                if isinstance(module, nn.Conv2d) and module.bias is not None:
                    for parameter in (module.weight, module.bias):
                        parameter.data = unrounded(parameter.data, rng).to(memory_format=torch.preserve_format)
            for kind, others in kinds.items():
                changes[kind].append((distances(metric, (samples, others)) - before[kind]).abs())
        for kind, found in changes.items():
            change = torch.cat(found)
            low, high = before[kind].min(), before[kind].max()
            print(
                f"| {net} | {kind}, {size} px | {count} | {low:.3f} to {high:.3f} | "
                f"{change.mean():.1e} | {change.max():.1e} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
