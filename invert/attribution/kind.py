"""What kind of image a verdict is about, and whether the calibration has images of that kind.

The rate of a verdict holds for images like those of the calibration. A JPEG is not like a PNG, whatever it shows.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from invert.images.target import Target

__all__ = ["ImageKind", "PopulationKind", "caveats"]

_LOSSY = ("JPEG", "WEBP", "AVIF", "HEIC", "HEIF", "JPEG2000")
_REACH = 5  # by how much a quality may lie outside those of a population: estimates are off by one or two


@dataclass(frozen=True)
class ImageKind:
    """What is known of an image beside its pixels as the network is given them.

    Attributes:
        format: Format of its file if that loses something, such as "JPEG"; empty for one that loses nothing.
        jpeg_quality: Quality of a JPEG compression of which its pixels show traces.
        side: Its smaller side in pixels.
        changes: What was done to it before it was compared, such as turning it upright.
    """

    format: str
    jpeg_quality: int | None
    side: int
    changes: tuple[str, ...]

    @classmethod
    def of(cls, target: Target) -> Self:
        """Return the kind of an image."""
        lossy = target.format if target.format in _LOSSY else ""
        return cls(lossy, target.jpeg_quality, min(target.original_size), target.warnings)

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON types."""
        values = {"format": self.format, "jpeg_quality": self.jpeg_quality, "side": self.side}
        return {**values, "changes": list(self.changes)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read it back.

        Raises:
            ValueError, KeyError, TypeError: It is no such record.
        """
        quality = record["jpeg_quality"]
        return cls(
            str(record["format"]),
            None if quality is None else _whole(quality),
            _whole(record["side"]),
            tuple(str(one) for one in record["changes"]),
        )


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 31:
        raise ValueError("no number of that kind")
    return value


@dataclass(frozen=True)
class PopulationKind:
    """What kinds of images a population has.

    Attributes:
        formats: How many images have each format that loses something; empty stands for the others.
        qualities: Smallest and largest quality of JPEG compressions of which its images show traces.
        sides: Smallest and largest of the images' smaller sides in pixels.
        changes: What was done to how many of them, without the numbers in it.
        is_assumed: Whether the calibration does not say: it is of before it was recorded.
    """

    formats: Mapping[str, int]
    qualities: tuple[int, int] | None
    sides: tuple[int, int]
    changes: Mapping[str, int] = field(default_factory=dict)
    is_assumed: bool = False

    @classmethod
    def of(cls, kinds: Sequence[ImageKind]) -> Self:
        """Return the kind of a population of these images, at least one."""
        sides = [one.side for one in kinds]
        qualities = [one.jpeg_quality for one in kinds if one.jpeg_quality is not None]
        changes = Counter(name for one in kinds for name in {_without_numbers(text) for text in one.changes})
        return cls(
            dict(sorted(Counter(one.format for one in kinds).items())),
            (min(qualities), max(qualities)) if qualities else None,
            (min(sides), max(sides)),
            dict(sorted(changes.items())),
        )

    @classmethod
    def assumed(cls, resolution: int) -> Self:
        """Return what is taken for granted of a population that does not say: images like a network's own samples."""
        return cls({"": 1}, None, (resolution, resolution), is_assumed=True)

    def with_jpeg(self, quality: int) -> "PopulationKind":
        """Return the kind of images after a JPEG compression, which are JPEG files or what such files hold."""
        low, high = self.qualities or (quality, quality)
        formats = {**self.formats, "JPEG": sum(self.formats.values())}
        return replace(self, formats=formats, qualities=(min(low, quality), max(high, quality)))

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {
            "formats": dict(self.formats),
            "jpeg_qualities": self.qualities,
            "sides": self.sides,
            "changes": dict(self.changes),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read it back.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: It is no such record.
        """
        counts = [{str(name): _whole(count) for name, count in record[key].items()} for key in ("formats", "changes")]
        qualities = record["jpeg_qualities"]
        return cls(counts[0], None if qualities is None else _pair(qualities), _pair(record["sides"]), counts[1])

    @property
    def text(self) -> str:
        """What it is in words."""
        formats = " and ".join(name or "lossless" for name in self.formats)
        low, high = self.sides
        size = f"{low} px" if low == high else f"{low} to {high} px"
        traces = f", traces of JPEG quality {self.qualities[0]} to {self.qualities[1]}" if self.qualities else ""
        assumed = "not recorded, taken for " if self.is_assumed else ""
        changed = "".join(f"; {count}: {text}" for text, count in self.changes.items())
        return f"{assumed}{formats}, {size}{traces}{changed}"


def _pair(values: Sequence[Any]) -> tuple[int, int]:
    low, high = map(_whole, values)
    return low, high


def _without_numbers(text: str) -> str:
    return re.sub(r"\d+", "N", text)


def caveats(kind: ImageKind, populations: Mapping[str, PopulationKind], original_size: tuple[int, int]) -> list[str]:
    """Say in what an image is unlike those of populations in kind: for the verdict's reason.

    Args:
        kind: Kind of the image.
        populations: Kinds of the images that it is compared with, by name of the population.
        original_size: (width, height) of the image in pixels.
    """
    found = []
    lossy = [name for name, one in populations.items() if kind.format not in one.formats]
    if kind.format and lossy:
        quality = "" if kind.jpeg_quality is None else f" of quality {kind.jpeg_quality} or so"
        found.append(f"it is a {kind.format} image{quality}, {_those(lossy, populations)} are not")
    elif kind.jpeg_quality is not None:
        traceless = [name for name, one in populations.items() if not _has_quality(one, kind.jpeg_quality)]
        if traceless:
            quality = f"JPEG compression of quality {kind.jpeg_quality} or so"
            found.append(f"it bears traces of {quality}, {_those(traceless, populations)} do not")
    smaller = [name for name, one in populations.items() if kind.side > one.sides[1]]
    if smaller:
        largest = max(populations[name].sides[1] for name in smaller)
        shape = " x ".join(map(str, original_size))
        found.append(f"it was reduced from {shape}, {_those(smaller, populations)} have {largest} px at most")
    for text in kind.changes:
        unlike = [name for name, one in populations.items() if _without_numbers(text) not in one.changes]
        if unlike:
            found.append(f"{text}, unlike {_those(unlike, populations)}")
    return found


def _has_quality(population: PopulationKind, quality: int) -> bool:
    low, high = population.qualities or (1000, 0)
    return low - _REACH <= quality <= high + _REACH


def _those(names: Sequence[str], populations: Mapping[str, PopulationKind]) -> str:
    return f"those of {', '.join(names)}" if len(names) < len(populations) else "the images it is compared with"
