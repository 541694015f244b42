"""Make the figures of docs/editing.md, by the commands that it shows, for any network.

    python -m bench.editing_figures docs
    python -m bench.editing_figures FOLDER --network faces.safetensors --edited photo.png --fitted photo.png

Two images are projected: one that is then moved along directions (`edit.png`), and one whose noise maps are shown with
and without their regulariser (`noise-maps.png`). Seeds, styles and amounts are those of the document.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.populations import NETWORKS

SAMPLES = NETWORKS.parent / "samples" / "real"


def commands(network: Path, edited: Path, fitted: Path, steps: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the commands in their order, each with the figure that it makes, "" for none."""
    of_it = ["--network", str(network)]
    yield "bands.png", ["mix", *of_it, "--rows", "1-3", "--cols", "10-15", "--out", "bands.png"]
    yield "mix.png", ["mix", *of_it, "--rows", "1-4", "--cols", "10-15", "--styles", "0-1", "--out", "mix.png"]
    yield "truncation.png", ["truncate", *of_it, "--seeds", "0-3", "--out", "truncation.png"]
    yield "noise.png", ["noise", *of_it, "--seed", "5", "--out", "noise.png"]
    yield "interpolation.png", ["interpolate", *of_it, "--keys", "1,5,9", "--out", "interpolation.png"]
    # The sheet of directions lies beside their file, under its name.
    pca = ["--method", "pca", "--count", "5", "--out", "directions.safetensors"]
    yield "directions.png", ["directions", str(network), *pca]
    sefa = ["--method", "sefa", "--styles", "0-1", "--count", "2", "--out", "sefa.safetensors"]
    yield "", ["directions", str(network), *sefa]
    yield "", ["project", str(edited), *of_it, "--preset", "verdict"]
    along = ["--direction", "directions.safetensors:0-1", "--direction", "sefa.safetensors"]
    amounts = ["--amount", "-2..2", "--steps", "5", "--out", "edit.png"]
    yield "edit.png", ["edit", f"projections/{edited.stem}.npz", *of_it, *along, *amounts]
    for name, more in (("kept", []), ("free", ["--noise-weight", "0"])):
        search = ["--steps", str(steps), "--batch", "1", *more, "--out", name]
        yield "", ["project", str(fitted), *of_it, *search]
    maps = ",".join(f"{name}/{fitted.stem}.npz" for name in ("kept", "free"))
    yield "noise-maps.png", ["noise", *of_it, "--maps", maps, "--out", "noise-maps.png"]


def main() -> None:
    """Make them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", type=Path, default=NETWORKS / "A.safetensors")
    parser.add_argument("--edited", type=Path, default=SAMPLES / "02.png", help="the image that is edited")
    parser.add_argument("--fitted", type=Path, default=SAMPLES / "03.png", help="the image whose noise maps are shown")
    parser.add_argument("--steps", type=int, default=200, help="of the projections with noise maps")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    network, edited, fitted = (path.resolve() for path in (given.network, given.edited, given.fitted))
    with tempfile.TemporaryDirectory() as work:
        for figure, arguments in commands(network, edited, fitted, given.steps):
            print(f"invert {' '.join(arguments)}", flush=True)
            subprocess.run([sys.executable, "-m", "invert", *arguments, "--quiet"], check=True, cwd=work)
            if figure:
                (given.folder / figure).write_bytes((Path(work) / figure).read_bytes())


if __name__ == "__main__":
    main()
