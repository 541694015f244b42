"""Bring images to one size and number of channels and pack them into a zip for training.

Images pass through one at a time, whatever their number. The zip appears complete or not at all, and the
same images and settings give the same bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from invert.datasets.image_sources import ImageSource, Loaded, check_labels, unlabelled
from invert.datasets.labels import DATASET_JSON, Labels, encode_attributes, encode_dataset_json
from invert.datasets.uniformity import Uniformity
from invert.datasets.zip_writer import ZipWriter
from invert.durable import atomic_file
from invert.errors import ImageError, InvertError, NoInputError
from invert.images.decoding import to_png_bytes
from invert.images.fitting import fit

__all__ = ["DatasetSettings", "DatasetSummary", "write_dataset"]

_PER_FOLDER = 1000


@dataclass(frozen=True)
class DatasetSettings:
    """How images are brought to size.

    Args:
        resolution: Side of all images; None: they all have one already.
        crop: "center" cuts the centre square, "none" refuses what is not square; None cuts, unless `pad` is set.
        pad: Whether images are put whole in the middle of black: none is enlarged and, without `crop`, none is cut.
        channels: 1, 3, 4 (RGBA), or None: as the source says, or the first image has.
    """

    resolution: int | None = None
    crop: Literal["center", "none"] | None = None
    pad: bool = False
    channels: int | None = None


@dataclass(frozen=True)
class DatasetSummary:
    """What was written.

    Attributes:
        images: Number of images in the zip.
        resolution: Their side in pixels.
        channels: Their channels, 1, 3 or 4.
        classes: Number of classes; None without labels.
        attributes: Number of attributes.
        skipped: Number of images that could not be used.
        enlarged: Number of images that were smaller and are not padded.
        cut: Number of images that were not square and lost what lies outside their centre square.
        bytes: Size of the zip.
        sha256: sha256 of the zip.
    """

    images: int
    resolution: int
    channels: int
    classes: int | None
    attributes: int
    skipped: int
    enlarged: int
    cut: int
    bytes: int
    sha256: str


def write_dataset(
    source: ImageSource,
    path: Path,
    settings: DatasetSettings,
    *,
    on_error: Callable[[InvertError], None] | None = None,
    on_warning: Callable[[Path, str], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> DatasetSummary:
    """Write a zip of 8-bit PNGs and their dataset.json.

    Args:
        source: The images and, where they have them, labels.
        path: The zip; replaced when it exists, once all is well.
        settings: How they are brought to size.
        on_error: Called for each image that is skipped.
        on_warning: Called with an image and what was done to it that its owner may not expect.
        on_progress: Called with the number of images seen, and of all.

    Raises:
        NoInputError: There is no image that can be used, or the source is a trap.
        UsageError: Sizes or channels do not fit, and no setting says what to do with them.
        OutputError: The zip cannot be written.
    """
    check_labels(source)
    with atomic_file(path) as file:
        packing = _Packing(source, settings, file, on_error, on_warning)
        for error in source.skipped:
            packing.skip(error)
        count = len(source.names)
        for index in range(count):
            packing.add(index)
            if on_progress is not None:
                on_progress(index + 1, count)
        return packing.finish()


class _Packing:
    """One zip in the making."""

    def __init__(
        self,
        source: ImageSource,
        settings: DatasetSettings,
        file: BinaryIO,
        on_error: Callable[[InvertError], None] | None,
        on_warning: Callable[[Path, str], None] | None,
    ) -> None:
        resize = settings.resolution is not None
        channels = settings.channels or source.channels
        self._uniformity = Uniformity(
            channels=channels,
            any_square=resize,
            any_shape=resize and settings.crop != "none",
            any_channels=channels is not None,
        )
        self._source = source
        self._settings = settings
        self._zip = ZipWriter(file)
        self._on_error = on_error
        self._on_warning = on_warning
        self._used: list[int] = []
        self._names: list[str] = []
        self._skipped = 0
        self._enlarged = self._cut = 0

    def skip(self, error: InvertError) -> None:
        """Count and report an image that cannot be used."""
        if not (isinstance(error, ImageError) and error.by_rule):
            self._skipped += 1
        if self._on_error is not None:
            self._on_error(error)

    def add(self, index: int) -> None:
        """Write one image, or say why not."""
        missing = unlabelled(self._source, index)
        if missing is not None:
            self.skip(missing)
            return
        try:
            loaded = self._source.load(index, self._uniformity.channels)
        except ImageError as error:
            self.skip(error)
            return
        name = self._source.names[index]
        if not self._uniformity.look(name, *loaded.image.size, loaded.own_channels) or not self._uniformity.holds:
            # Nothing will come of the zip; what is left is to count the images that do not fit.
            return
        image = _without_hidden_colours(self._to_size(loaded))
        if self._on_warning is not None:
            for text in loaded.warnings:
                self._on_warning(self._source.where(index), text)
        number = len(self._used)
        self._names.append(f"{number // _PER_FOLDER:05d}/img{number:08d}.png")
        self._zip.add(self._names[-1], to_png_bytes(image))
        self._used.append(index)

    def _to_size(self, loaded: Loaded) -> NDArray[np.uint8]:
        """Return an image of the settings' size, [R, R, C]."""
        image, settings = loaded.image, self._settings
        whole = settings.pad and settings.crop is None
        side = max(image.size) if whole else min(image.size)
        resolution = settings.resolution or side
        if image.width != image.height:
            if whole:
                return _on_black(_within(image, resolution), resolution)
            self._cut += 1
        if side >= resolution:
            return fit(image, resolution)
        if not settings.pad:
            self._enlarged += 1
            return fit(image, resolution)
        return _on_black(fit(image, side), resolution)

    def finish(self) -> DatasetSummary:
        """Write dataset.json and the directory."""
        if not self._uniformity.holds:
            raise self._uniformity.error(self._source.path, "Add")
        side, channels = self._settings.resolution or self._uniformity.side, self._uniformity.channels
        if not self._used or side is None or channels is None:
            raise NoInputError("it holds no image that can be used", path=self._source.path, code="dataset-empty")
        names, labels = self._source.names, self._source.labels
        values = None if labels is None else [labels.of[names[index]] for index in self._used]
        attributes = self._source.attributes
        sources = [_as_text(names[index]) for index in self._used]
        others = {
            "classes": None if labels is None or labels.classes is None else list(labels.classes),
            "resolution": side,
            "channels": channels,
            "sources": sources,
        }
        if attributes:
            written = {names[index]: name for index, name in zip(self._used, self._names, strict=True)}
            others |= encode_attributes(attributes, written)
        self._zip.add(DATASET_JSON, encode_dataset_json(self._names, values, others))
        self._zip.finish()
        return DatasetSummary(
            images=len(self._used),
            resolution=side,
            channels=channels,
            classes=_class_count(labels, values),
            attributes=len(attributes),
            skipped=self._skipped,
            enlarged=self._enlarged,
            cut=self._cut,
            bytes=self._zip.size,
            sha256=self._zip.sha256,
        )


def _without_hidden_colours(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image [R, R, C] whose wholly transparent pixels are black: a network would learn what nobody sees."""
    if array.shape[2] < 4:
        return array
    return np.where(array[..., 3:] == 0, np.uint8(0), array)


def _within(image: Image.Image, resolution: int) -> NDArray[np.uint8]:
    """Return an image whose longer side is at most `resolution`, its proportions kept, [h, w, C]."""
    longer = max(image.size)
    if longer > resolution:
        width, height = (max(1, round(side * resolution / longer)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    return np.array(image).reshape(image.height, image.width, -1)


def _on_black(array: NDArray[np.uint8], resolution: int) -> NDArray[np.uint8]:
    """Return an image in the middle of black, [resolution, resolution, C]."""
    height, width, channels = array.shape
    padded = np.zeros((resolution, resolution, channels), np.uint8)
    top, left = (resolution - height) // 2, (resolution - width) // 2
    padded[top : top + height, left : left + width] = array
    return padded


def _as_text(name: str) -> str:
    """Return a name with escapes for bytes that are not UTF-8: what stands for them is not valid JSON everywhere."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _class_count(labels: Labels | None, values: list[int] | None) -> int | None:
    if labels is None or not values:
        return None
    return len(labels.classes) if labels.classes else max(values) + 1
