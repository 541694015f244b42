"""Training images for `generator.training.images`: a folder, a zip or an IDX file that needs no conversion."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from invert.datasets.image_sources import ImageSource, check_labels, label_by, open_source, unlabelled
from invert.datasets.uniformity import Uniformity
from invert.errors import ImageError, NoInputError, display_path

__all__ = ["TrainingImages", "open_images"]

_CONVERT = "Run 'invert dataset' on it first, with"

_Cache = NDArray[np.uint8]


class TrainingImages:
    """Images of one size and number of channels; implements `generator.training.images.Images`.

    Attributes:
        path: Where they come from.
        resolution: Side in pixels.
        channels: 1 or 3; 4 (RGBA) where dataset.json says so.
        labels: int64 [N], the class of each image, or None.
        classes: How many classes there are; 0 without labels.
        class_names: Names of the classes, where they are known.
        attributes: int64 [N] by name, what each says of the images; -1 where it is not known of an image.
        value_names: Names of the values of an attribute; those without are 0 or 1.
        fingerprint: sha256 of the names, sizes and, where the source has them, checksums of the images, and of
            their labels.
    """

    def __init__(
        self,
        source: ImageSource,
        used: Sequence[int],
        resolution: int,
        channels: int,
        cache: _Cache | None,
    ) -> None:
        self.path = source.path
        self.resolution = resolution
        self.channels = channels
        self.labels: NDArray[np.int64] | None = None
        self.classes = 0
        self.class_names: tuple[str, ...] | None = None
        if source.labels is not None:
            self.labels = np.array([source.labels.of[source.names[index]] for index in used], np.int64)
            self.class_names = source.labels.classes
            self.classes = len(self.class_names) if self.class_names else int(self.labels.max()) + 1
        names = [source.names[index] for index in used]
        self.attributes: dict[str, NDArray[np.int64]] = {
            attribute: np.array([values.of.get(name, -1) for name in names], np.int64)
            for attribute, values in source.attributes.items()
        }
        self.value_names = {name: one.classes for name, one in source.attributes.items() if one.classes is not None}
        self.fingerprint = _fingerprint(source, used, self)
        self._source = source
        self._used = used
        self._cache = cache
        if cache is not None:
            source.close()

    def __len__(self) -> int:
        return len(self._used)

    def read(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """Return the images of these indices, `[n, C, R, R]`, 0 to 255. Several threads may ask at once.

        Raises:
            ImageError: An image that is not in memory cannot be read any more, or is not of the common size.
        """
        if self._cache is not None:
            return self._cache[np.asarray(indices, np.intp)]
        shape = (self.channels, self.resolution, self.resolution)
        images = np.empty((len(indices), *shape), np.uint8)
        for position, index in enumerate(indices):
            images[position] = self._decode(self._used[index])
        return images

    def close(self) -> None:
        """Close the file that images are read from."""
        self._source.close()

    def _decode(self, index: int) -> NDArray[np.uint8]:
        loaded = self._source.load(index, self.channels)
        if loaded.own_channels != self.channels or loaded.image.size != (self.resolution, self.resolution):
            reason = "it is not of the size and channels of the others"
            raise ImageError(reason, path=self._source.where(index), code="image-changed")
        return _planes(loaded.image)


def open_images(
    path: str | Path,
    *,
    attribute: str | None = None,
    on_message: Callable[[str], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    cache_bytes: int = 2 << 30,
) -> TrainingImages:
    """Open training images: a folder of images, a zip of images, or an IDX file of images.

    Args:
        path: The folder or file. Labels come from its dataset.json, or from the file of labels beside an IDX file.
        attribute: Which of its attributes is to be the label; images that it says nothing of are left out.
        on_message: Called with one line for each image that is left out.
        on_progress: Called with the number of images looked at, and of all.
        cache_bytes: When all images together take at most so much memory, they are decoded now, once; otherwise
            their headers are looked at now, and each is decoded whenever it is asked for.

    Raises:
        NoInputError: It cannot be read, or holds no image that can be used.
        UsageError: The images are not all of one square power-of-two size and one number of channels, or they have no
            such attribute.
    """
    source = open_source(Path(path))
    try:
        if attribute is not None:
            label_by(source, attribute)
        return _Opening(source, attribute, on_message, on_progress).run(cache_bytes)
    except BaseException:
        source.close()
        raise


class _Opening:
    """One look at all images of a source."""

    def __init__(
        self,
        source: ImageSource,
        attribute: str | None,
        on_message: Callable[[str], None] | None,
        on_progress: Callable[[int, int], None] | None,
    ) -> None:
        self._source = source
        self._attribute = attribute
        self._on_message = on_message
        self._on_progress = on_progress
        self._used: list[int] = []

    def run(self, cache_bytes: int) -> TrainingImages:
        source = self._source
        check_labels(source)
        for error in source.skipped:
            self._leave_out(error)
        alpha = source.channels  # 4, or None: the images tell
        uniformity = Uniformity(channels=alpha, any_channels=alpha is not None)
        cache: _Cache | None = None
        for index in self._candidates():
            try:
                cache = self._take(index, uniformity, cache, cache_bytes)
            except ImageError as error:
                self._leave_out(error)
        if not uniformity.holds:
            raise uniformity.error(source.path, _CONVERT)
        side, channels = uniformity.side, uniformity.channels
        if side is None or channels is None:
            raise NoInputError("it holds no image that can be used", path=source.path, code="dataset-empty")
        if cache is not None:
            cache = cache[: len(self._used)]
        return TrainingImages(source, self._used, side, channels, cache)

    def _candidates(self) -> Iterator[int]:
        """Yield the images that have a label, if any have, and count."""
        count, unknown = len(self._source.names), 0
        for index in range(count):
            error = unlabelled(self._source, index)
            if error is None:
                yield index
            elif self._attribute is not None:
                unknown += 1
            else:
                self._leave_out(error)
            if self._on_progress is not None:
                self._on_progress(index + 1, count)
        if unknown and self._on_message is not None:
            reason = f"{unknown} of {count} images are left out: attribute '{display_path(self._attribute or '')}' says"
            self._on_message(f"{reason} nothing of them")

    def _take(self, index: int, uniformity: Uniformity, cache: _Cache | None, cache_bytes: int) -> _Cache | None:
        """Look at one image, and decode it where all fit into memory."""
        source = self._source
        if self._used and (cache is None or not uniformity.holds):
            # Not kept in memory, or for nothing: the header is enough.
            look = source.look(index)
            if look is not None:
                uniformity.look(source.names[index], look.width, look.height, source.channels or look.channels)
                self._used.append(index)
                return cache
        loaded = source.load(index, source.channels)
        fits = uniformity.look(source.names[index], *loaded.image.size, loaded.own_channels)
        if fits:
            planes = _planes(loaded.image)
            if not self._used and planes.size * len(source.names) <= cache_bytes:
                cache = np.empty((len(source.names), *planes.shape), np.uint8)
            if cache is not None:
                cache[len(self._used)] = planes
        self._used.append(index)
        return cache

    def _leave_out(self, error: ImageError | NoInputError) -> None:
        if isinstance(error, ImageError) and error.by_rule:
            error.advice = error.advice and "Run 'invert dataset --follow' on it first."
        if self._on_message is not None:
            self._on_message(str(error))


def _planes(image: Image.Image) -> NDArray[np.uint8]:
    """Return an image as [C, H, W]."""
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def _fingerprint(source: ImageSource, used: Sequence[int], images: TrainingImages) -> str:
    head = {"format": 1, "resolution": images.resolution, "channels": images.channels, "classes": images.classes}
    digest = hashlib.sha256(json.dumps(head).encode() + b"\n")
    for index in used:
        digest.update(source.identity(index) + b"\n")
    digest.update(b"" if images.labels is None else images.labels.astype("<i8").tobytes())
    return digest.hexdigest()
