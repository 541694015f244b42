"""Figures of the report of `invert attribute`: images beside their reconstructions, and places in histograms."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from invert.attribution.calibration import Calibration
from invert.attribution.score import axis_label, shown_value
from invert.attribution.settings import OWN
from invert.attribution.verdict import Finding, Reading, Verdict
from invert.images.decoding import to_png_bytes
from invert.report import histograms
from invert.report.page import Figure, Gallery
from invert.report.theme import Plot

__all__ = ["AMPLIFIED", "SHOWN", "Places", "image_gallery", "plot_all_places", "readings", "seed_gallery"]

AMPLIFIED = 4
"""Factor of the differences in a difference map."""

SHOWN = 256
"""Pixels that a larger image is reduced to in a report."""

_Array = npt.NDArray[np.uint8]
Places = dict[tuple[int, str], Plot]
"""Figures of one image, by number of the network and score."""


def readings(finding: Finding) -> Iterator[tuple[str, Reading]]:
    """Return the readings that a report shows, by score: that which decides, then that of LPIPS where it is another."""
    for score in dict.fromkeys((finding.deciding, "lpips")):
        reading = finding.lpips if score == "lpips" else finding.evidence
        if reading is not None:
            yield score, reading


def plot_all_places(calibrations: Sequence[Calibration | None], verdicts: Sequence[Verdict | None]) -> list[Places]:
    """Plot the place of each image among the images of each network's calibration that it is compared with.

    Args:
        calibrations: Calibration of each network.
        verdicts: Verdict on each image.
    """
    alike: dict[tuple[int, str, int, str], dict[int, histograms.Place]] = defaultdict(dict)
    for image, verdict in enumerate(verdicts):
        pairs = zip(calibrations, verdict.findings, strict=True) if verdict is not None else ()
        for network, (calibration, finding) in enumerate(pairs):
            if calibration is not None:
                index = int(calibration.bins.index(finding.measurement.complexity))
                for score, reading in readings(finding):
                    if reading.p0 is None:  # it is compared with nothing
                        continue
                    limit = math.nan if reading.threshold is None else shown_value(score, reading.threshold)
                    place = histograms.Place(shown_value(score, reading.score), limit)
                    alike[network, score, index, reading.group][image] = place
    found: list[Places] = [{} for _ in verdicts]
    for (network, score, index, group), places in alike.items():
        calibration = calibrations[network]
        if calibration is not None:
            plots = _plot_places(calibration, score, index, group, list(places.values()))
            for image, plot in zip(places, plots, strict=True):
                found[image][network, score] = plot
    return found


def _plot_places(
    calibration: Calibration, score: str, index: int, group: str, places: Sequence[histograms.Place]
) -> list[Plot]:
    populations: dict[str, list[float]] = {}
    for one in calibration.populations:
        chosen = populations.setdefault("of its own" if one.name == OWN else f"of {one.name}", [])
        for image in one.part("threshold"):
            if image.group == group and (one.name == OWN or calibration.bins.index(image.complexity) == index):
                chosen.append(shown_value(score, calibration.score(score, image)))
    return histograms.plot_places(populations, places, x_label=axis_label(score), log=score == "lpips")


def image_gallery(network: str, target: _Array, reconstruction: _Array, distance: float) -> Gallery:
    """Show an image, what a network makes of it, and where the two differ.

    Args:
        network: Name of the network.
        target: The image, uint8 `[H, W, C]`.
        reconstruction: What the network makes of it, uint8 `[H, W, C]`.
        distance: LPIPS between the two.
    """
    figures = [
        _figure(target, "The image", "The image as the network is given it"),
        _figure(
            reconstruction,
            f"What {network} makes of the image",
            f"Best reconstruction by {network}, distance {distance:.4f}",
        ),
    ]
    difference = np.abs(target.astype(np.int16) - reconstruction)
    amplified = np.minimum(AMPLIFIED * _with_opacity(difference), 255).astype(np.uint8)
    caption = f"Difference, {AMPLIFIED} times; black is none"
    figures.append(_figure(amplified, f"Where image and reconstruction by {network} differ", caption))
    return Gallery(figures, small=True)


def seed_gallery(network: str, target: _Array, regenerated: _Array, rms: float, expected_rms: float) -> Gallery:
    """Show an image beside what a network generates from its seed.

    Args:
        network: Name of the network.
        target: The image, uint8 `[H, W, C]`.
        regenerated: What the network generates, before anything happened to it, likewise.
        rms: How far the two are from each other after that, in levels.
        expected_rms: What rounding and the processing leave of it.
    """
    caption = f"Generated again by {network}: {rms:.2f} levels off, where {expected_rms:.2f} are expected"
    figures = [_figure(target, "The image", "The image as the network is given it")]
    figures.append(_figure(regenerated, f"What {network} generates from the seed", caption))
    return Gallery(figures, small=True)


def _with_opacity(difference: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """Show differences in opacity as grey ones: they would not be seen otherwise."""
    return np.maximum(difference[..., :3], difference[..., 3:]) if difference.shape[-1] == 4 else difference


def _figure(array: _Array, alt: str, caption: str) -> Figure:
    if array.shape[-1] == 4:
        # On black, as images for networks without opacity are laid: a light and a dark page show the same.
        opacity = array[..., 3:].astype(np.uint16)
        array = ((array[..., :3] * opacity + 127) // 255).astype(np.uint8)
    if max(array.shape[:2]) > SHOWN:
        image = Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
        image.thumbnail((SHOWN, SHOWN), Image.Resampling.BOX, reducing_gap=None)
        array = np.asarray(image)
    return Figure(to_png_bytes(array), alt, caption, pixels=True)
