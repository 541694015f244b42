"""A training run as one HTML page: how far it is, its samples, its losses over training, and its settings.

Reference: Karras et al. 2020; the shares of the resolutions are its figure 8.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generator.training.config import TrainConfig
from invert.errors import InvertError, display_path
from invert.report.page import Block, Figure, Gallery, Paragraph, Section, Table, render_page
from invert.runs.charts import (
    augment_blocks,
    growth_blocks,
    kimg,
    loss_blocks,
    metric_blocks,
    score_blocks,
    share_blocks,
)
from invert.runs.folder import REALS
from invert.runs.history import Tick, TrainingHistory, has_file, read_grid, read_history

__all__ = ["MAX_GRIDS", "TrainingReport", "training_report"]

MAX_GRIDS = 12
"""Grids of samples in a report: the first, the last, and evenly between."""

_MAX_ROWS = 500
_MAX_MISSING = 5

# Settings that tell one run from another; the full list has a section of its own.
_MAIN_SETTINGS = {
    "generator_architecture": "generator",
    "discriminator_architecture": "discriminator",
    "batch": "batch",
    "learning_rate": "learning rate",
    "r1_gamma": "weight of R1, gamma",
    "path_length_weight": "weight of path length",
    "style_mixing": "style mixing",
    "mirror": "mirrored images",
    "augment": "augmentation",
    "seed": "seed",
}


@dataclass(frozen=True)
class TrainingReport:
    """A finished page.

    Attributes:
        page: HTML.
        history: What it shows.
        grids: How many grids of samples are in it.
        missing: A line for each image that the run should have and that is not in the page.
    """

    page: bytes
    history: TrainingHistory
    grids: int
    missing: tuple[str, ...]


def training_report(folder: Path) -> TrainingReport:
    """Make the report of the run in a folder.

    Raises:
        NoInputError: There is no run, nothing is logged yet, or its log is damaged.
    """
    history = read_history(folder)
    images = _Images(folder, history.snapshots)
    data = {f"data: {name}": value for name, value in history.data.items()}
    sections = [
        Section("Summary", list(_summary(history))),
        Section("Samples", list(images.blocks())),
        Section("Losses", list(loss_blocks(history.ticks))),
        Section("Scores", list(score_blocks(history.ticks))),
        Section("Shares of the resolutions", list(share_blocks(history.snapshots))),
        Section("Settings", list(_values({**history.settings, **data}))),
        Section("Software", list(_values(history.software))),
    ]
    augment = list(augment_blocks(history.ticks, history.settings.get("augment_target", TrainConfig.augment_target)))
    if augment:
        sections.insert(4, Section("Augmentation", augment))
    for heading, blocks in (("Growth", growth_blocks(history.ticks)), ("Metrics", metric_blocks(history.measured))):
        if shown := list(blocks):
            sections.insert(2, Section(heading, shown))
    title = f"Training run: {display_path(folder.resolve().name)}"
    page = render_page(title, sections, lead=_lead(history))
    return TrainingReport(page, history, images.grids, tuple(images.missing))


def _lead(history: TrainingHistory) -> str:
    side, channels, count = (history.data.get(name) for name in ("resolution", "channels", "images"))
    seen = f"{kimg(history.ticks[-1])} kimg seen"
    if not all(type(value) is int and 0 < value < 10**12 for value in (side, channels, count)):
        return seen
    return f"{seen}, of {count:,} images of {side} x {side} pixels and {channels} channel{'s'[: channels != 1]}"


def _summary(history: TrainingHistory) -> Iterator[Block]:
    end = history.ticks[-1]
    found = {name: f"{value:.4g}" for name, value in end.measures.items()}

    def last(*names: str) -> str:
        return " / ".join(found.get(name, "none") for name in names)

    rows = [
        ("images seen", f"{end.images:,}"),
        ("time", _duration(end.measures.get("seconds"))),
        ("images per second", last("images_per_second")),
        ("loss of generator / discriminator", last("generator", "discriminator")),
        ("R1 penalty", last("r1")),
        *([("gradient penalty", last("gradient_penalty"))] if "gradient_penalty" in found else []),
        *([("resolution / alpha", last("resolution", "alpha"))] if "resolution" in found else []),
        *([("augmentation, p / mean sign", last("augment_p", "real_sign"))] if "augment_p" in found else []),
        *([("blur of what the discriminator sees, pixels", last("blur_sigma"))] if "blur_sigma" in found else []),
        ("path length penalty / average a", last("path_length", "path_length_average")),
        ("score of real / generated images", last("real", "fake")),
    ]
    settings = history.settings
    rows += [(label, _value(settings[name])) for name, label in _MAIN_SETTINGS.items() if name in settings]
    yield Table(rows, caption="Losses, scores and speed are those of the last tick.")
    broken = sum(not all(map(math.isfinite, tick.measures.values())) for tick in history.ticks)
    if broken:
        yield Paragraph(f"Ticks with a number that is not finite: {broken}. The curves have gaps there.", notice=True)
    if history.thinned:
        yield Paragraph("The log is very long: of its older part, not every tick is plotted.")


class _Images:
    """The images of a run that are there; `missing` says which are not, `grids` how many samples are shown."""

    def __init__(self, folder: Path, snapshots: Sequence[Tick]) -> None:
        self._folder = folder
        self.missing: list[str] = []
        named = [tick for tick in snapshots if tick.fakes is not None]
        there = [tick for tick in named if has_file(folder, tick.fakes or "")]
        absent = [tick.fakes or "" for tick in named if not has_file(folder, tick.fakes or "")]
        self.missing += [
            f"'{display_path(name)}' is not there as a file of this folder" for name in absent[:_MAX_MISSING]
        ]
        if len(absent) > _MAX_MISSING:
            self.missing.append(f"{len(absent) - _MAX_MISSING} more grids of samples are not there")
        self._reals = self._figure(REALS, "Training images", "A grid of training images")
        fakes = [
            self._figure(tick.fakes or "", f"Samples at {kimg(tick)} kimg", f"A grid of samples at {kimg(tick)} kimg")
            for tick in _evenly(there, MAX_GRIDS)
        ]
        self._fakes = [figure for figure in fakes if figure is not None]
        self.grids = len(self._fakes)

    def blocks(self) -> Iterator[Block]:
        """Show the newest samples beside real images, then how they came about."""
        pair = [figure for figure in (self._reals, *self._fakes[-1:]) if figure is not None]
        if not self._fakes and not self.missing:
            yield Paragraph("There are no samples yet.")
        if pair:
            yield Gallery(pair)
        if len(self._fakes) > 1:
            yield Paragraph("The same latents earlier in training, synthesised by the averaged generator:")
            yield Gallery(self._fakes[:-1], small=True)
        for line in self.missing:
            yield Paragraph(f"{line}.", notice=True)

    def _figure(self, name: str, caption: str, alt: str) -> Figure | None:
        try:
            data = read_grid(self._folder, name)
        except InvertError as error:
            self.missing.append(f"'{display_path(name)}': {error.reason}")
            return None
        return Figure(data, alt, caption, pixels=True)


def _evenly(ticks: Sequence[Tick], count: int) -> list[Tick]:
    """Return the first, the last and those nearest to an even spacing in images seen."""
    if len(ticks) <= count:
        return list(ticks)
    first, last = ticks[0].images, ticks[-1].images
    wanted = [first + (last - first) * i / (count - 1) for i in range(count)]
    nearest = {min(range(len(ticks)), key=lambda i: abs(ticks[i].images - images)) for images in wanted}
    return [ticks[i] for i in sorted(nearest)]


def _values(values: Mapping[str, Any]) -> Iterator[Block]:
    rows = [(name, _value(value)) for name, value in sorted(values.items())]
    yield Table(rows[:_MAX_ROWS]) if rows else Paragraph("The run does not say.")
    if len(rows) > _MAX_ROWS:
        yield Paragraph(f"{len(rows) - _MAX_ROWS} more are not shown.")


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _duration(seconds: float | None) -> str:
    if seconds is None or not 0 <= seconds < 1e12:
        return "none"
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if hours:
        return f"{hours:,} h {minutes % 60} min"
    return f"{minutes} min {int(seconds % 60)} s" if minutes else f"{seconds:.1f} s"
