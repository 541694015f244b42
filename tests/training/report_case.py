"""Folders that look like those of `invert train`, and what is read off their reports."""

import functools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from invert.images.decoding import to_png_bytes
from invert.runs.report import training_report
from tests.test_page import Reader

HOSTILE = "<img src=x onerror=alert(1)>\"'&\u202e\x00\ud800"

SETTINGS = {
    "resolution": 32,
    "channels": 3,
    "generator_architecture": "skip",
    "discriminator_architecture": "resnet",
    "batch": 32,
    "learning_rate": 0.002,
    "r1_gamma": 1.0,
    "path_length_weight": 2.0,
    "mirror": False,
    "seed": 0,
    "channel_base": 1024,
    "channel_max": 128,
}
DATA = {
    "path": "data/garments.zip",
    "fingerprint": "5f3c" * 16,
    "images": 60000,
    "resolution": 32,
    "channels": 3,
    "classes": 0,
}
SOFTWARE = {"invert": "0.1.0", "torch": "2.10.0", "python": "3.11.9"}


@functools.cache
def sheet(clarity: float, seed: int = 0) -> bytes:
    """Make a grid of blobs that come out of the noise."""
    random = np.random.RandomState(seed)
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    rows = []
    for _ in range(8):
        cells = []
        for _ in range(8):
            a, b, c = random.uniform(0.2, 1, 3)
            blob = np.exp(-(((x / a) ** 2 + (y / b) ** 2) ** (1 + 3 * c)))
            grain = random.uniform(0, 1, [32, 32])
            colour = random.uniform(60, 255, 3)
            cells.append((clarity * blob + (1 - clarity) * grain)[..., None] * colour)
        rows.append(np.concatenate(cells, axis=1))
    return to_png_bytes(np.concatenate(rows).astype(np.uint8))


def record(kimg: float, end: float, **others: Any) -> dict[str, Any]:
    """Return a record of the log, of a run of `end` kimg."""
    t = kimg / end
    wobble = math.sin(40 * t) * 0.05 + math.sin(173 * t) * 0.03
    return {
        "tick": round(kimg / 4),
        "images": round(kimg * 1000),
        "seconds": kimg * 10.4,
        "images_per_second": 96.1,
        "losses": {
            "generator": 0.69 + 0.6 * t**0.5 + wobble,
            "discriminator": 1.39 - 0.45 * t**0.5 + wobble / 2,
            "r1": 0.02 + 2 * math.exp(-30 * t) + abs(wobble) / 20,
            "path_length": 0.01 + math.exp(-12 * t) * (1 + 5 * wobble),
        },
        "scores": {"real": 0.6 * t**0.5 + wobble, "fake": -0.5 * t**0.5 + wobble},
        "path_length_average": 0.8 * (1 - math.exp(-9 * t)),
        "resolution_shares": None,
        "fakes": None,
        "network": None,
        **others,
    }


def snapshot(kimg: float, end: float) -> dict[str, Any]:
    """Return the record of a snapshot."""
    t = kimg / end
    raw = {"4": 1.2 - t, "8": 1.0 - 0.6 * t, "16": 0.5 + 0.3 * t, "32": 0.15 + t}
    shares = {name: value / sum(raw.values()) for name, value in raw.items()}
    images = round(kimg * 1000)
    names = {"fakes": f"fakes-{images:09d}.png", "network": f"network-{images:09d}.safetensors"}
    return record(kimg, end, resolution_shares=shares, **names)


def write_run(
    folder: Path, records: list[dict[str, Any]], *, images: bool = True, settings: dict[str, Any] = SETTINGS
) -> Path:
    """Write a run's settings, log, and, unless told otherwise, the images that the log names."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"format": "invert-training", "version": 1, "settings": settings, "data": DATA, "software": SOFTWARE}
    (folder / "settings.json").write_text(json.dumps(about))
    (folder / "log.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    if images:
        (folder / "reals.png").write_bytes(sheet(1.0, seed=1))
        for one in records:
            if one["fakes"] is not None:
                clarity = round(one["images"] / records[-1]["images"], 1)
                (folder / one["fakes"]).write_bytes(sheet(clarity))
    return folder


def whole_run(folder: Path, kimg: int = 400, snapshots: int = 20) -> Path:
    """Write a finished run: a tick every 4 kimg, and this many snapshots."""
    step = max(4, kimg // snapshots // 4 * 4)
    ticks = [snapshot(k, kimg) if k % step == 0 else record(k, kimg) for k in range(4, kimg + 1, 4)]
    return write_run(folder, ticks)


def show(folder: Path) -> Reader:
    page = Reader(training_report(folder).page)
    page.check_inert()
    return page


def captions(page: Reader) -> list[str]:
    """Return the kimg of the grids that are shown, as written."""
    return [
        (image["alt"] or "").removeprefix("A grid of samples at ")
        for image in page.all("img")
        if (image["alt"] or "").startswith("A grid of samples")
    ]


def rows(page: Reader, label: str) -> str:
    """Return the cell beside a label."""
    lines = [line for line in page.text.splitlines() if line.startswith(label)]
    assert lines, f"no row {label}"
    return lines[0].removeprefix(label)
