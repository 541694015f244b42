"""Draw what projections look like and how far they stay: pairs of picture and reconstruction, and histograms.

    python -m bench.reconstructions real=projections/real generated=projections/generated --out figure.png

Each folder is one that `invert project` wrote.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot
from matplotlib.gridspec import GridSpec
from PIL import Image

PAIRS = 8


def finished(folder: Path) -> list[dict[str, Any]]:
    """Return the finished pictures of a folder, in the order of their names."""
    index = json.loads((folder / "results.json").read_text())
    return sorted((p for p in index["pictures"] if p["status"] == "ok"), key=lambda p: str(p["name"]))


def main() -> None:
    """Write the figure and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    matplotlib.use("Agg")
    kinds = {name: Path(folder) for name, folder in (item.split("=", 1) for item in arguments.folders)}
    figure = pyplot.figure(figsize=(9, 1.15 * 2 * len(kinds) + 2.6), dpi=110)
    grid = GridSpec(len(kinds) + 1, 1, figure, height_ratios=[*[2.3] * len(kinds), 2.6], hspace=0.35)
    distances = {name: [float(p["distance"]) for p in finished(folder)] for name, folder in kinds.items()}
    for row, (name, folder) in enumerate(kinds.items()):
        cells = grid[row].subgridspec(1, PAIRS, wspace=0.08)
        for column, picture in enumerate(finished(folder)[:PAIRS]):
            axes = figure.add_subplot(cells[column])
            pair = np.asarray(Image.open(folder / f"{picture['name']}.png").convert("RGB"))
            half = pair.shape[1] // 2
            stacked = np.concatenate([pair[:, :half], pair[:, -half:]])
            axes.imshow(stacked)
            axes.axis("off")
            axes.set_title(f"{picture['distance']:.3f}", fontsize=9)
            if column == 0:
                axes.text(-0.12, 0.5, name, rotation=90, va="center", ha="right", transform=axes.transAxes)
    axes = figure.add_subplot(grid[len(kinds)])
    bins = np.geomspace(min(map(min, distances.values())), max(map(max, distances.values())), 25)
    for name, values in distances.items():
        median = statistics.median(values)
        axes.hist(values, bins=list(bins), alpha=0.6, label=f"{name}: {len(values)} pictures, median {median:.4f}")
        print(f"{name}: {len(values)} pictures, median distance {median:.4f}")
    axes.margins(y=0.4)
    axes.set_xscale("log")
    axes.set_xlabel("LPIPS between picture and reconstruction")
    axes.set_ylabel("pictures")
    axes.legend(frameon=False)
    figure.savefig(arguments.out, bbox_inches="tight")


if __name__ == "__main__":
    main()
