"""What was measured of a run's snapshots: the file metrics.jsonl, a line for each, and which snapshot is the best."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generator.jsontext import JsonError, read_json
from invert.errors import InvertError, UnreadableError
from invert.images.opening import read_regular
from invert.metrics.table import metric_of

__all__ = ["BEST", "METRICS", "Snapshot", "best_of", "encode_snapshots", "read_snapshots", "snapshot_files"]

METRICS = "metrics.jsonl"
BEST = "network-best.safetensors"

_MAX_FILE = 64 << 20
_MAX_LINE = 1 << 18
_MAX_IMAGES = 1 << 40
_FILE = re.compile(r"network-([0-9]{9,15})\.safetensors", re.ASCII)


@dataclass(frozen=True)
class Snapshot:
    """What was measured of a snapshot.

    Attributes:
        images: Number of images that training had seen.
        metrics: Figures of each metric by name, in the order in which they were asked for; None where one is none.
        main: The metric's figure among them.
        protocol: What makes them comparable, by metric.
    """

    images: int
    metrics: Mapping[str, Mapping[str, float | None]]
    main: Mapping[str, str]
    protocol: Mapping[str, Any]

    @property
    def network(self) -> str:
        """Name of its file."""
        return f"network-{self.images:09d}.safetensors"

    def value(self, metric: str) -> float | None:
        """Return a metric's figure."""
        return self.metrics.get(metric, {}).get(self.main.get(metric, ""))

    def record(self) -> dict[str, Any]:
        """Return it as a line of the file."""
        return {
            "images": self.images,
            "network": self.network,
            "metrics": {name: dict(values) for name, values in self.metrics.items()},
            "main": dict(self.main),
            "protocol": dict(self.protocol),
        }


def snapshot_files(folder: Path) -> dict[int, Path]:
    """Return the networks of a run's snapshots by how many images training had seen, the first one first."""
    found = ((_FILE.fullmatch(path.name), path) for path in folder.glob("network-*.safetensors"))
    return dict(sorted((int(match[1]), path) for match, path in found if match is not None))


def encode_snapshots(snapshots: Sequence[Snapshot]) -> bytes:
    """Return the file that `read_snapshots` reads."""
    return "".join(json.dumps(one.record(), allow_nan=False) + "\n" for one in snapshots).encode()


def read_snapshots(folder: Path) -> list[Snapshot]:
    """Return what was measured of a run's snapshots, the first one first; what is damaged is left out."""
    try:
        lines = read_regular(folder / METRICS, _MAX_FILE, follow=False).splitlines()
    except UnreadableError:
        return []
    return sorted(_read(lines), key=lambda one: one.images)


def _read(lines: Sequence[bytes]) -> Iterator[Snapshot]:
    for line in lines:
        try:
            record = read_json(line, _MAX_LINE)
            images, main, metrics = record["images"], record["main"], record["metrics"]
            if type(images) is not int or not 0 <= images < _MAX_IMAGES:
                continue
            values = {str(name): _figures(found) for name, found in metrics.items() if _is_known(str(name))}
            yield Snapshot(
                images, values, {str(k): str(v) for k, v in main.items()}, dict(record.get("protocol") or {})
            )
        except (JsonError, ValueError, KeyError, TypeError, AttributeError):
            continue


def _is_known(name: str) -> bool:
    try:
        metric_of(name)
    except InvertError:
        return False
    return True


def _figures(found: Mapping[str, Any]) -> dict[str, float | None]:
    figures: dict[str, float | None] = {}
    for name, value in found.items():
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        figures[str(name)] = float(value) if number else None
    return figures


def best_of(snapshots: Sequence[Snapshot]) -> tuple[Snapshot, str] | None:
    """Return the best snapshot and the metric that says so: the first one; None where nothing was measured."""
    names = [name for one in snapshots for name in one.metrics]
    if not names:
        return None
    metric = names[0]
    sign = -1 if metric_of(metric).better == "higher" else 1
    known = [(sign * value, one) for one in snapshots if (value := one.value(metric)) is not None]
    return (min(known, key=lambda pair: (pair[0], pair[1].images))[1], metric) if known else None
