"""The kinds of source: a folder, a zip, an IDX file."""

import hashlib
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from invert.datasets.appearance import HEAD_BYTES, Appearance, appearance
from invert.datasets.dataset_json import MAX_JSON_BYTES, Labels, parse_dataset_json
from invert.datasets.idx import is_images_name, labels_beside, read_images, read_labels
from invert.datasets.image_zip import DATASET_JSON, ImageZip
from invert.datasets.source import POLICY, Loaded, Source, load_bytes
from invert.datasets.zip_directory import is_zip
from invert.errors import ImageError, NoInputError, UnreadableError, display_path
from invert.images.opening import read_head, read_regular
from invert.images.scan import scan

__all__ = ["open_source"]


def open_source(path: Path, *, with_labels: bool = True, follow: bool = False) -> Source:
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


def _open_folder(path: Path, with_labels: bool, follow: bool) -> Source:
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
        for found in scan([path], follow):
            if isinstance(found, ImageError):
                self.skipped.append(found)
            else:
                self.names.append(found.relative_to(path).as_posix())
        json_path = path / DATASET_JSON
        self.labels: Labels | None = None
        if with_labels and os.path.lexists(json_path):
            self.labels = parse_dataset_json(read_regular(json_path, MAX_JSON_BYTES), json_path)

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
            return load_bytes(self._bytes(index), channels)
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
            return read_regular(self.where(index), POLICY.max_bytes)
        except UnreadableError as error:
            raise ImageError.of_file(error) from error


class _ZipSource:
    """Images in a zip."""

    def __init__(self, path: Path, with_labels: bool) -> None:
        self.path = path
        self._zip = ImageZip(path)
        self.names = [member.name for member in self._zip.images]
        self.skipped: list[ImageError] = []
        self.labels: Labels | None = None
        if with_labels and self._zip.dataset_json is not None:
            try:
                data = self._zip.read(self._zip.dataset_json)
            except ImageError as error:
                raise NoInputError(error.reason, path=error.path, advice=error.advice, code="labels-damaged") from error
            self.labels = parse_dataset_json(data, path / DATASET_JSON)

    def where(self, index: int) -> Path:
        return self.path / self.names[index]

    def look(self, index: int) -> Appearance | None:
        member = self._zip.images[index]
        head = self._zip.read(member, HEAD_BYTES)
        return appearance(head) or (appearance(self._zip.read(member)) if len(head) == HEAD_BYTES else None)

    def load(self, index: int, channels: int | None) -> Loaded:
        try:
            return load_bytes(self._zip.read(self._zip.images[index]), channels)
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
        return Loaded(image.convert("RGB") if channels == 3 else image, 1, ())

    def identity(self, index: int) -> bytes:
        if not self._digest:
            # Once for all: the images are in memory.
            digest = hashlib.sha256(b"%d %d %d\n" % self._images.shape)
            digest.update(self._images.data)
            self._digest = digest.hexdigest()
        return f"{self._digest} {index}".encode()

    def close(self) -> None:
        """Nothing is open."""
