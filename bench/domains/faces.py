"""Faces of the style "Personas", 64 px, in colour, with their exact attributes, as a zip of training images.

    python -m bench.domains.faces runs/faces64.zip --count 50000
    python -m bench.domains.faces runs/faces64-test.zip --first 1000000 --count 5000

A seed of these versions of the packages gives the same image each time: hair, skin and all else are drawn by it. The
zip's dataset.json has ten attributes with names for their values; the colour of hair is not known where none is seen.
"""

import argparse
import contextlib
import subprocess
from pathlib import Path

from bench.domains.packages import FOLDER, require, working_folder
from invert.datasets.image_sources import open_source
from invert.datasets.writer import DatasetSettings, DatasetSummary, write_dataset

PACKAGES = ("@dicebear/core", "@dicebear/collection", "@resvg/resvg-js")


def write_faces(path: Path, first: int, count: int) -> DatasetSummary:
    """Render the faces of the seeds from `first` on into a zip of training images."""
    require(*PACKAGES)
    with working_folder(path) as folder:
        subprocess.run(["node", str(FOLDER / "faces.mjs"), str(folder), str(first), str(count)], check=True)
        with contextlib.closing(open_source(folder)) as source:
            return write_dataset(source, path, DatasetSettings(channels=3))


def main() -> None:
    """Render them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT.zip")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=50_000)
    arguments = parser.parse_args()
    done = write_faces(arguments.out, arguments.first, arguments.count)
    print(f"{done.images} images, {done.attributes} attributes, {done.bytes:,} bytes, sha256 {done.sha256}")


if __name__ == "__main__":
    main()
