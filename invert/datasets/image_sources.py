"""What training images are read from: a folder of images, a zip of images, or an IDX file."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from invert.datasets.idx import is_images_name, labels_beside, read_images, read_labels
from invert.datasets.labels import (
    MAX_JSON_BYTES,
    Labels,
    fitted,
    has_alpha,
    label_places,
    parse_attributes,
    parse_dataset_json,
)
from invert.errors import ImageError, NoInputError, UnreadableError, UsageError, display_path
from invert.images.containers import Appearance
from invert.images.decoding import ImagePolicy, decode_image
from invert.images.formats import HEAD_BYTES, appearance
from invert.images.image_zip import ImageZip, is_zip
from invert.images.opening import read_head, read_regular
from invert.images.scan import scan
from invert.store.own_sheets import OwnSheets

__all__ = ["ImageSource", "Loaded", "check_labels", "label_by", "open_source", "unlabelled"]

_POLICY = ImagePolicy(min_size=1)
"""Everything that can be brought to size is taken; padding is for images below the usual least size."""


class Loaded(NamedTuple):
    """An image in memory.

    Attributes:
        image: Mode L, RGB or RGBA.
        own_channels: Channels that it had by itself, 1 or 3; 4 of every image that was asked for with four.
        warnings: What was done to it that its owner may not expect.
    """

    image: Image.Image
    own_channels: int
    warnings: tuple[str, ...]


class ImageSource(Protocol):
    """Images by index.

    Attributes:
        path: What the user named.
        names: Names of the images, relative to the root, in a fixed order.
        skipped: What looked like an image and cannot be taken.
        labels: What dataset.json or a file of labels says; None without labels.
        attributes: What else dataset.json says of some of the images, by name of the attribute.
        channels: 4 where dataset.json says that all images are RGBA; None: each has its own.
    """

    path: Path
    names: list[str]
    skipped: list[ImageError]
    labels: Labels | None
    attributes: Mapping[str, Labels]
    channels: int | None

    def where(self, index: int) -> Path:
        """Return what messages call an image."""
        ...

    def look(self, index: int) -> Appearance | None:
        """Return how an image looks by its header, cheaply; None where that does not tell.

        Raises:
            ImageError: It cannot be read.
        """
        ...

    def load(self, index: int, channels: int | None) -> Loaded:
        """Decode an image.

        Args:
            index: Which.
            channels: 1, 3 or 4, or None for its own number, which is 1 or 3.

        Raises:
            ImageError: It cannot be used.
            NoInputError: The whole source cannot.
        """
        ...

    def identity(self, index: int) -> bytes:
        """Return what changes when an image does, without reading it."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


def open_source(path: Path, *, with_labels: bool = True, follow: bool = False) -> ImageSource:
    """Open a folder of images, a zip of images, or an IDX file of images (or a folder with one of them).

    Args:
        path: The folder or file.
        with_labels: Whether to read the dataset.json or file of labels that comes with it.
        follow: Whether links in a folder may lead out of it, see `invert.images.scan.scan`.

    Raises:
        NoInputError: It is none of these, or cannot be read.
    """
    if path.is_dir():
        return _open_folder(path, with_labels, follow)
    head = read_head(path, 4)
    if is_zip(head) or path.suffix.lower() == ".zip":
        return _ZipSource(path, with_labels)
    if head.startswith((b"\0\0", b"\x1f\x8b")) or is_images_name(path.name):
        return _IdxSource(path, with_labels)
    reason = "it is not a folder, a zip of images or an IDX file"
    raise NoInputError(reason, path=path, code="source-unrecognised")


def _open_folder(path: Path, with_labels: bool, follow: bool) -> ImageSource:
    source = _FolderSource(path, with_labels, follow)
    if source.names:
        return source
    files = sorted(entry.name for entry in os.scandir(path) if is_images_name(entry.name))
    if len(files) == 1:
        return _IdxSource(path / files[0], with_labels)
    if files:
        listed = ", ".join(f"'{display_path(name)}'" for name in files[:4])
        reason = f"it holds {len(files)} IDX files of images: {listed}"
        raise NoInputError(reason, path=path, advice="Name one of them.", code="source-ambiguous")
    return source


class _FolderSource:
    """Image files below a folder, found by `invert.images.scan.scan`."""

    def __init__(self, path: Path, with_labels: bool, follow: bool) -> None:
        self.path = path
        self.names: list[str] = []
        self.skipped: list[ImageError] = []
        sheets = OwnSheets()
        left_out = 0
        for found in scan([path], follow):
            if isinstance(found, ImageError):
                self.skipped.append(found)
            elif sheets.error(found) is not None:
                left_out += 1
            else:
                self.names.append(found.relative_to(path).as_posix())
        if left_out:
            reason = f"{left_out} sheets that invert made of images are left out"
            self.skipped.append(ImageError(reason, path=path, code="image-own-sheet"))
        self.labels: Labels | None = None
        self.attributes: Mapping[str, Labels] = {}
        where = next((place for place in label_places(self.names) if os.path.lexists(path / place)), None)
        self.channels: int | None = None
        if with_labels and where is not None:
            data = read_regular(path / where, MAX_JSON_BYTES)
            self.labels, self.attributes = _described(data, path, where, self.names)
            self.channels = 4 if has_alpha(data) else None

    def where(self, index: int) -> Path:
        return self.path / self.names[index]

    def look(self, index: int) -> Appearance | None:
        try:
            head = read_head(self.where(index), HEAD_BYTES)
        except UnreadableError as error:
            raise ImageError.of_file(error) from error
        return appearance(head) or (appearance(self._bytes(index)) if len(head) == HEAD_BYTES else None)

    def load(self, index: int, channels: int | None) -> Loaded:
        try:
            return _decode(self._bytes(index), channels)
        except ImageError as error:
            error.path = self.where(index)
            raise

    def identity(self, index: int) -> bytes:
        try:
            size = os.stat(self.where(index)).st_size
        except OSError:
            size = -1
        return os.fsencode(self.names[index]) + b"\0%d" % size

    def close(self) -> None:
        """Nothing is open."""

    def _bytes(self, index: int) -> bytes:
        try:
            return read_regular(self.where(index), _POLICY.max_bytes)
        except UnreadableError as error:
            raise ImageError.of_file(error) from error


class _ZipSource:
    """Images in a zip."""

    def __init__(self, path: Path, with_labels: bool) -> None:
        self.path = path
        self._zip = ImageZip(path)
        self.names = [member.name for member in self._zip.images]
        self.skipped: list[ImageError] = list(self._zip.skipped)
        self.labels: Labels | None = None
        self.attributes: Mapping[str, Labels] = {}
        found = {member.name: member for member in self._zip.others}
        where = next((place for place in label_places(self.names) if place in found), None) if with_labels else None
        self.channels: int | None = None
        if where is not None:
            try:
                data = self._zip.read(found[where])
            except ImageError as error:
                raise NoInputError(error.reason, path=error.path, advice=error.advice, code="labels-damaged") from error
            self.labels, self.attributes = _described(data, path, where, self.names)
            self.channels = 4 if has_alpha(data) else None

    def where(self, index: int) -> Path:
        return self.path / self.names[index]

    def look(self, index: int) -> Appearance | None:
        member = self._zip.images[index]
        head = self._zip.read(member, HEAD_BYTES)
        return appearance(head) or (appearance(self._zip.read(member)) if len(head) == HEAD_BYTES else None)

    def load(self, index: int, channels: int | None) -> Loaded:
        try:
            return _decode(self._zip.read(self._zip.images[index]), channels)
        except ImageError as error:
            error.path = self.where(index)
            raise

    def identity(self, index: int) -> bytes:
        member = self._zip.images[index]
        return member.raw_name + b"\0%d %d" % (member.size, member.crc)

    def close(self) -> None:
        self._zip.close()


class _IdxSource:
    """Images of an IDX file, with the labels beside it."""

    def __init__(self, path: Path, with_labels: bool) -> None:
        self.path = path
        self._images: NDArray[np.uint8] = read_images(path)
        self.names = [str(number) for number in range(len(self._images))]
        self.skipped: list[ImageError] = []
        self.labels: Labels | None = None
        self.attributes: Mapping[str, Labels] = {}
        self.channels: int | None = None
        labels_path = labels_beside(path) if with_labels else None
        if labels_path is not None:
            labels = read_labels(labels_path, len(self._images))
            self.labels = Labels(dict(zip(self.names, labels.tolist(), strict=True)), None)
        self._digest = ""

    def where(self, index: int) -> Path:
        return self.path / self.names[index]

    def look(self, index: int) -> Appearance:
        return Appearance(self._images.shape[2], self._images.shape[1], 1)

    def load(self, index: int, channels: int | None) -> Loaded:
        image = Image.fromarray(self._images[index])
        mode = {3: "RGB", 4: "RGBA"}.get(channels or 1)
        return Loaded(image.convert(mode) if mode else image, 4 if channels == 4 else 1, ())

    def identity(self, index: int) -> bytes:
        if not self._digest:
            # Once for all: the images are in memory.
            digest = hashlib.sha256(b"%d %d %d\n" % self._images.shape)
            digest.update(self._images.data)
            self._digest = digest.hexdigest()
        return f"{self._digest} {index}".encode()

    def close(self) -> None:
        """Nothing is open."""


def _described(data: bytes, path: Path, where: str, names: Sequence[str]) -> tuple[Labels | None, Mapping[str, Labels]]:
    """Return the labels and the attributes that a dataset.json gives to images of these names."""
    labels, attributes = parse_dataset_json(data, path / where), parse_attributes(data, path / where)
    return (
        None if labels is None else fitted(labels, names, where),
        {attribute: fitted(of, names, where) for attribute, of in attributes.items()},
    )


def _decode(data: bytes, channels: int | None) -> Loaded:
    """Decode an image file.

    Args:
        data: The whole file.
        channels: 1, 3 or 4, or None for its own number, which is 1 or 3.

    Raises:
        ImageError: It cannot be used.
    """
    look = appearance(data)
    own = 4 if channels == 4 else 3 if look is None else look.channels
    try:
        decoded = decode_image(data, channels or own, _POLICY)
    except ImageError as error:
        if error.code == "image-too-large":
            # What it advises is an option of another command.
            error.advice = "Reduce it first."
        raise
    return Loaded(decoded.image, own, (*decoded.warnings, *decoded.notes))


def check_labels(source: ImageSource) -> None:
    """Raise unless at least one image has a label, where there are labels at all.

    Raises:
        NoInputError: The labels are of other images.
    """
    if source.labels is not None and source.names and not any(name in source.labels.of for name in source.names):
        reason = f"none of its {len(source.names)} images has one of its {len(source.labels.of)} labels"
        advice = "Names in dataset.json are relative to the folder or zip that it is in."
        raise NoInputError(reason, path=source.path, advice=advice, code="labels-foreign")


def label_by(source: ImageSource, attribute: str) -> None:
    """Make an attribute of a source's images their labels.

    Raises:
        UsageError: It has no such attribute.
    """
    if attribute not in source.attributes:
        known = ", ".join(f"'{display_path(name)}'" for name in source.attributes)
        reason = f"has no attribute '{display_path(attribute)}'" if known else "has no attributes"
        advice = f"There are: {known}." if known else "They are `attributes` in its dataset.json; --cond takes labels."
        raise UsageError(reason, path=source.path, advice=advice, code="attribute-missing")
    of, classes = source.attributes[attribute]
    source.labels = Labels(dict(of), classes or (f"not {attribute}", attribute))


def unlabelled(source: ImageSource, index: int) -> NoInputError | None:
    """Return the error about an image without a label, in a source whose images have labels; else None."""
    if source.labels is None or source.names[index] in source.labels.of:
        return None
    reason = "it has no label, and other images have"
    return NoInputError(reason, path=source.where(index), advice="Add it to dataset.json.", code="label-missing")
