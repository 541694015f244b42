"""Whether images all have one size and one number of channels; if not, one message about all that differ."""

from dataclasses import dataclass
from pathlib import Path

from invert.errors import UsageError, display_path

__all__ = ["MAX_RESOLUTION", "MIN_RESOLUTION", "Uniformity", "is_resolution"]

MIN_RESOLUTION, MAX_RESOLUTION = 4, 4096

_COLOURS = {1: "grey", 3: "colour"}


def is_resolution(side: int) -> bool:
    """Return whether networks come in this size: a power of two from 4 to 4096."""
    return MIN_RESOLUTION <= side <= MAX_RESOLUTION and side & (side - 1) == 0


@dataclass
class Uniformity:
    """Looks at images one by one.

    Args:
        side: Width and height that every image must have; None: as the first that is a square of a possible size.
        channels: Number of channels that every image must have, 1, 3 or 4; None: as the first image.
        any_square: Every square fits, since all are resized.
        any_shape: Everything fits, since all are cropped and resized.
        any_channels: Every number of channels fits, since all are converted.
    """

    side: int | None = None
    channels: int | None = None
    any_square: bool = False
    any_shape: bool = False
    any_channels: bool = False

    def __post_init__(self) -> None:
        self.seen = 0
        self._odd_sizes = 0
        self._odd_channels = 0
        self._first_size: tuple[str, int, int] | None = None
        self._first_channels: tuple[str, int] | None = None

    @property
    def holds(self) -> bool:
        """Whether all images so far fit."""
        return not self._odd_sizes and not self._odd_channels

    def look(self, name: str, width: int, height: int, channels: int) -> bool:
        """Count one image; return whether it fits.

        Args:
            name: Its name, for the error.
            width: Its width in pixels.
            height: Its height in pixels.
            channels: Its number of channels.
        """
        self.seen += 1
        if self.channels is None:
            self.channels = channels
        if self.side is None and width == height and is_resolution(width) and not (self.any_shape or self.any_square):
            self.side = width
        size_fits = self._size_fits(width, height)
        if not size_fits:
            self._odd_sizes += 1
            self._first_size = self._first_size or (name, width, height)
        channels_fit = self.any_channels or channels == self.channels
        if not channels_fit:
            self._odd_channels += 1
            self._first_channels = self._first_channels or (name, channels)
        return size_fits and channels_fit

    def _size_fits(self, width: int, height: int) -> bool:
        if self.any_shape:
            return True
        return width == height and (self.any_square or width == self.side)

    def error(self, path: Path, before_options: str) -> UsageError:
        """Return the error that names the first image that does not fit, and how many there are.

        Args:
            path: The source.
            before_options: How the advice starts, before options of `invert dataset`, such as "Add".
        """
        reasons, options = [], []
        if self._first_size is not None:
            name, width, height = self._first_size
            wanted = f"{self.side} x {self.side}" if self.side else "of a square power-of-two size from 4 to 4096"
            wanted = "square" if self.any_square else wanted
            reasons.append(
                f"{self._count(self._odd_sizes)} not {wanted}, first '{display_path(name)}', {width} x {height}"
            )
            options.append("--crop center" if self.any_square else self._resolution_advice(width, height))
        if self._first_channels is not None and self.channels is not None:
            name, channels = self._first_channels
            count = self._count(self._odd_channels)
            reasons.append(f"{count} not {_COLOURS[self.channels]}, first '{display_path(name)}', {_COLOURS[channels]}")
            options.append("--channels 3 (or 1)")
        advice = f"{before_options} {' and '.join(options)}."
        return UsageError("; ".join(reasons), path=path, advice=advice, code="dataset-not-uniform")

    def _count(self, odd: int) -> str:
        return f"{odd} of {self.seen} images {'is' if odd == 1 else 'are'}"

    def _resolution_advice(self, width: int, height: int) -> str:
        side = min(max(width, height), MAX_RESOLUTION)
        proposal = self.side or max(MIN_RESOLUTION, 1 << (side - 1).bit_length())
        smaller = " (and --pad)" if max(width, height) < proposal else ""
        return f"--resolution {proposal}{smaller if width == height else ' (and --pad to cut nothing)'}"
