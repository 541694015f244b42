"""Images with the lowest and the highest path lengths, and the histogram of all.

Reference: Karras et al. 2020, figures 4 and 5.
"""

from collections.abc import Iterable

import numpy as np
import torch

from invert.images.arrays import contact_sheet, to_uint8
from invert.images.decoding import to_png_bytes
from invert.metrics.path_length import PART, Pairs, path_of
from invert.metrics.request import Request, open_subject
from invert.metrics.result import Measured
from invert.metrics.settings import MeasureSettings
from invert.metrics.table import choose
from invert.report.histograms import plot_panels

__all__ = ["IMAGES", "path_length_sheets"]

IMAGES = 32
"""Images on a sheet."""

_COLUMNS = 8


def path_length_sheets(measured: Measured, device: str = "cpu") -> dict[str, bytes]:
    """Return the PNG files of a path length by name: "lowest", "highest", "histogram".

    Args:
        measured: A path length, just measured of a network that is still there.
        device: Device that synthesises the images.
    """
    distances = measured.arrays["distances"]
    order = np.argsort(distances, kind="stable")
    count = min(IMAGES, len(order) // 2)
    settings = MeasureSettings(
        **{name: measured.protocol[name] for name in ("pairs", "epsilon", "psi", "noise", "seed", "precision")}
    )
    subject = open_subject(measured.path, lambda _: None)
    request = Request(choose(measured.metric, None, against=True)[0], subject, settings, device=device)
    title = f"{measured.metric} {measured.value:.4g}"
    histogram = plot_panels([(title, {"pairs": distances})], x_label="path length of a pair", log=True)
    return {
        "lowest": _sheet(request, order[:count]),
        "highest": _sheet(request, order[::-1][:count]),
        "histogram": histogram,
    }


@torch.inference_mode()
def _sheet(request: Request, indices: Iterable[int]) -> bytes:
    """Synthesise the first images of some pairs again."""
    path, total = path_of(request.chosen.kind), request.settings.pairs
    images = []
    for index in indices:
        first = int(index) // PART * PART
        pairs = Pairs(request, request.generator, path, first, min(PART, total - first))
        image, _ = pairs.images(slice(int(index) - first, int(index) - first + 1))
        images.append(to_uint8(image)[0])
    return to_png_bytes(contact_sheet(images, _COLUMNS), is_sheet=True)
