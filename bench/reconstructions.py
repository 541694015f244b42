"""Show what projections look like and how far they stay: pairs of image and reconstruction, and histograms.

    python -m bench.reconstructions real=projections/real generated=projections/generated --out figure.png

Each folder is one that `invert project` wrote.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot
from matplotlib.gridspec import GridSpec
from PIL import Image

from invert.store.index import read_index

PAIRS = 8


def finished(folder: Path) -> list[dict[str, Any]]:
    """Return the finished images of a folder, in the order of their names."""
    index = read_index(folder)
    lines = [] if index is None else [entry.to_line() for entry in index.entries.values()]
    return sorted((line for line in lines if line["status"] == "ok"), key=lambda line: str(line["name"]))


def main() -> None:
    """Write the figure and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    matplotlib.use("Agg")
    kinds = {name: Path(folder) for name, folder in (item.split("=", 1) for item in arguments.folders)}
    figure = pyplot.figure(figsize=(9, 3.1 * len(kinds)), dpi=110)
    grid = GridSpec(len(kinds) + 1, 1, figure, height_ratios=[*[2.3] * len(kinds), 0.9 * len(kinds)], hspace=0.35)
    distances = {name: [float(p["distance"]) for p in finished(folder)] for name, folder in kinds.items()}
    for row, (name, folder) in enumerate(kinds.items()):
        cells = grid[row].subgridspec(1, PAIRS, wspace=0.08)
        for column, image in enumerate(finished(folder)[:PAIRS]):
            axes = figure.add_subplot(cells[column])
            pair = np.asarray(Image.open(folder / f"{image['name']}.png").convert("RGB"))
            half = pair.shape[1] // 2
            stacked = np.concatenate([pair[:, :half], pair[:, -half:]])
            axes.imshow(stacked)
            axes.axis("off")
            axes.set_title(f"{image['distance']:.3f}", fontsize=9)
            if column == 0:
                axes.text(-0.12, 0.5, name, rotation=90, va="center", ha="right", transform=axes.transAxes)
    bins = np.geomspace(min(map(min, distances.values())), max(map(max, distances.values())), 25)
    rows = grid[len(kinds)].subgridspec(len(kinds), 1, hspace=0.08)
    first = None
    for row, (name, values) in enumerate(distances.items()):
        first = axes = figure.add_subplot(rows[row], sharex=first, sharey=first)
        median = statistics.median(values)
        axes.hist(values, bins=list(bins), color=f"C{row}", alpha=0.75)
        axes.axvline(median, color="0.25", linewidth=0.9, linestyle="--")
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
        label = f"{len(values)} images, median {median:.4f}"
        axes.text(0.99, 0.75, label, ha="right", va="center", fontsize=9, transform=axes.transAxes)
        axes.tick_params(labelbottom=row == len(kinds) - 1)
        print(f"{name}: {len(values)} images, median distance {median:.4f}")
    axes.set_xscale("log")
    axes.set_xlabel("LPIPS between image and reconstruction")
    figure.savefig(arguments.out, bbox_inches="tight")


if __name__ == "__main__":
    main()
