"""The figure of `bench.spaces`: images, and what each method made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from invert.durable import write_atomic
from invert.images.decoding import to_png_bytes
from invert.sheets.layout import Grid, fitting_scale, lay_out_sheet

if TYPE_CHECKING:
    from bench.spaces import Experiment

Pixels = NDArray[np.uint8]

_EACH = 3  # images of each kind at most
_TITLES = {
    "plain": "plain loop",
    "w": "W",
    "w+": "W+",
    "tuned": "W+, tuned",
    "encoder": "encoder",
    "fast": "fast",
}


def draw(experiment: Experiment, path: Path) -> None:
    """Write the figure of the first images of each kind that all methods in it have.

    Args:
        experiment: What was measured.
        path: The PNG file.
    """
    each = min(_EACH, *map(len, experiment.targets.values()))
    shown = [method for method in _TITLES if experiment.counts.get(method, 0) >= each]
    columns: list[str] = []
    rows: dict[str, list[Pixels]] = {"image": [], **{method: [] for method in shown}}
    for kind in experiment.targets:
        for number in range(each):
            target = experiment.targets[kind][number]
            columns.append(f"{kind} {number}")
            rows["image"].append(target.array)
            for method in shown:
                first = number - number % experiment.batch_of(method)
                cell = next(c for c, _ in experiment.cells(method, kind) if c.name.startswith(f"{kind}-{first:05d}-"))
                with Image.open(cell.parent / cell.stem / f"{target.path.stem}.png") as image:
                    rows[method].append(np.asarray(image).reshape(target.array.shape))
    labels = ["image", *(_TITLES[method] for method in shown)]
    grid = Grid(f"Images into {experiment.network.name}", list(rows.values()), columns, labels)
    write_atomic(path, to_png_bytes(lay_out_sheet([grid], fitting_scale(len(rows["image"][0])))))
