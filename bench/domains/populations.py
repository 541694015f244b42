"""The faces that networks of faces are calibrated, tested and shown with, as 8-bit PNG files.

    python -m bench.domains.populations runs/populations --held-out runs/faces64-test.zip [--test 100]
    python -m bench.domains.populations --samples data/samples --held-out runs/faces64-test.zip

The second one writes what comes with the program besides the networks' own samples, which `invert generate` makes:
`faces-real`, and one image of each kind after each processing.

Real faces are of the zip of held-out faces, which no network has seen; the others are samples of the networks. The
populations are `faces/NAME` to calibrate with and `faces-test/NAME`; indices and seeds were fixed before any score.
"""

import argparse
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from PIL import Image, ImageFilter

from bench.populations import write_samples
from invert.datasets.training_images import open_images
from invert.durable import ensure_folder, write_atomic
from invert.images.decoding import to_png_bytes

REAL = "real"

# Source, first index or seed, number, noise. Preset exact takes 343 of each origin, for 299 that set thresholds.
CALIBRATION = {"real": (REAL, 1000, 345, ""), "faces-b": ("faces-b", 200_000, 345, "const")}
TESTS = {
    "own": ("faces", 300_000, None, "const"),
    "own random noise": ("faces", 600_000, None, "random"),
    "real": (REAL, 2000, None, ""),
    "faces-b": ("faces-b", 300_000, None, "const"),
}
SAMPLES = ("faces-real", "faces", "faces-b")
SAMPLE_COUNT = 16
"""What comes with the program: the first images, or seeds from 0 on."""

_PROCESSINGS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    "compressed": lambda image: image.copy(),
    "cropped": lambda image: image.crop((4, 4, 60, 60)).resize((64, 64), Image.Resampling.LANCZOS),
    "reduced": lambda image: _halved(image),
    "scaled": lambda image: _halved(image).resize((64, 64), Image.Resampling.LANCZOS),
}
"""What people do to images before they pass them on, to one image each: the last ones of SAMPLES."""


def _halved(image: Image.Image) -> Image.Image:
    return image.resize((32, 32), Image.Resampling.LANCZOS)


def write_held_out(folder: Path, source: Path, first: int, count: int) -> None:
    """Write faces of the zip."""
    ensure_folder(folder)
    with closing(open_images(source)) as images:
        for index in range(first, first + count):
            path = folder / f"{index:05d}.png"
            if not path.exists():
                write_atomic(path, to_png_bytes(images.read([index])[0].transpose(1, 2, 0)))


def write_population(folder: Path, held_out: Path, kind: str, first: int, count: int, noise: str) -> None:
    """Write one population."""
    if kind == REAL:
        write_held_out(folder, held_out, first, count)
    else:
        write_samples(folder, kind, first, count, noise=noise)


def write_processed(samples: Path) -> None:
    """Write one sample of each kind after each processing, to `faces-processed`."""
    out = samples / "faces-processed"
    ensure_folder(out)
    for origin in SAMPLES:
        files = sorted((samples / origin).glob("*.png"))[-len(_PROCESSINGS) :]
        for file, (name, process) in zip(files, _PROCESSINGS.items(), strict=True):
            with Image.open(file) as image:
                processed = process(image)
            if name == "compressed":
                processed.save(out / f"{name}-{origin}.jpg", quality=75)
            else:
                processed.save(out / f"{name}-{origin}.png")


def main() -> None:
    """Write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="where populations are written")
    parser.add_argument("--held-out", type=Path, required=True, metavar="FACES.zip", help="faces that no network saw")
    parser.add_argument("--test", type=int, default=100, help="images of each test population")
    parser.add_argument("--samples", type=Path, metavar="DIR", help="write the samples that come with the program")
    arguments = parser.parse_args()
    if arguments.folder is not None:
        for part, populations in (("faces", CALIBRATION), ("faces-test", TESTS)):
            for name, (kind, first, count, noise) in populations.items():
                write_population(
                    arguments.folder / part / name, arguments.held_out, kind, first, count or arguments.test, noise
                )
    if arguments.samples is not None:
        write_held_out(arguments.samples / SAMPLES[0], arguments.held_out, 0, SAMPLE_COUNT)
        write_processed(arguments.samples)


if __name__ == "__main__":
    main()
