"""Emoji of the font Noto, 64 px, in colour, as a zip of training images.

    python -m bench.domains.emoji runs/emoji64.zip

What is transparent becomes white. The label is the category; the attribute `skin-tone` is known of those that have one.
"""

import argparse
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from bench.domains.packages import MODULES, require, working_folder
from invert.datasets.image_sources import open_source
from invert.datasets.writer import DatasetSettings, DatasetSummary, write_dataset

PACKAGE = "emoji-datasource-google"
TONES = {"1F3FB": "light", "1F3FC": "medium-light", "1F3FD": "medium", "1F3FE": "medium-dark", "1F3FF": "dark"}


def described(records: list[dict[str, Any]]) -> Iterator[tuple[str, str, str | None]]:
    """Yield each image's file name, category, and tone of skin where it has one; of two tones the first counts."""
    for record in records:
        variations = record.get("skin_variations", {})
        if record["has_img_google"]:
            yield record["image"], record["category"], None
        for tone, one in variations.items():
            if one["has_img_google"]:
                yield one["image"], record["category"], TONES[tone.split("-")[0]]


def on_white(image: Image.Image) -> Image.Image:
    """Return an image whose transparent parts show white, mode RGB."""
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def write_emoji(path: Path, package: Path) -> DatasetSummary:
    """Write the images of a package into a zip of training images.

    Args:
        path: The zip.
        package: Folder of the npm package.
    """
    found = sorted(described(json.loads((package / "emoji.json").read_bytes())))
    categories, tones = sorted({category for _, category, _ in found}), list(TONES.values())
    with working_folder(path) as folder:
        for file, _, _ in found:
            with Image.open(package / "img" / "google" / "64" / file) as image:
                on_white(image).save(folder / file)
        record = {
            "labels": [[file, categories.index(category)] for file, category, _ in found],
            "classes": categories,
            "attributes": {"skin-tone": [[file, tones.index(tone)] for file, _, tone in found if tone is not None]},
            "attribute_values": {"skin-tone": tones},
        }
        (folder / "dataset.json").write_text(json.dumps(record))
        with contextlib.closing(open_source(folder)) as source:
            return write_dataset(source, path, DatasetSettings(channels=3))


def main() -> None:
    """Write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT.zip")
    arguments = parser.parse_args()
    require(PACKAGE, node=False)
    done = write_emoji(arguments.out, MODULES / PACKAGE)
    print(f"{done.images} images, {done.classes} classes, {done.bytes:,} bytes, sha256 {done.sha256}")


if __name__ == "__main__":
    main()
