"""What one process does with its images: read, project, keep; and what it tells of it.

This is the only way from an image to its result, whatever keeps the results: nothing, a folder, a journal on its way to
HDF5, or measurements.
"""

import math
import os
from collections import Counter, deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from generator.settings import map_shape
from invert.batch.images import Listed, ahead, read_image
from invert.errors import ImageError, InvertError, NumericError, display_path
from invert.images.decoding import ImagePolicy
from invert.images.fitting import Size
from invert.images.target import Target
from invert.store.protocol import Finished, ImageStore

if TYPE_CHECKING:
    from invert.projection.projector import ImageProjector, Projection, StepRecord

__all__ = ["Done", "Duplicate", "Event", "Failed", "Stepped", "Warnings", "work"]


@dataclass(frozen=True)
class Stepped:
    """A group of images took one step."""

    record: "StepRecord"


@dataclass(frozen=True)
class Done:
    """An image has its result.

    Attributes:
        name: Its NAME, see `invert.batch.images`.
        path: Where it lies.
        distance: LPIPS after the last step.
        status: "ok" or "diverged".
        is_new: Whether the result was made now.
        warnings: What reading the image gave rise to.
        target: The image; None when another process read it.
        projection: The result, when it was made now and in this process.
        kept: What the store knows of it, in this process.
    """

    name: bytes
    path: str
    distance: float
    status: str
    is_new: bool
    warnings: tuple[str, ...]
    target: Target | None = field(default=None, repr=False)
    projection: "Projection | None" = field(default=None, repr=False)
    kept: Finished | None = field(default=None, repr=False)

    def without_arrays(self) -> Self:
        """Return what is worth sending to another process."""
        return replace(self, target=None, projection=None, kept=None)


@dataclass(frozen=True)
class Duplicate:
    """An image is the same as another of this run, and is done once."""

    name: bytes
    path: str


@dataclass(frozen=True)
class Failed:
    """An image has no result.

    Attributes:
        name: Its NAME, see `invert.batch.images`.
        path: Where it lies.
        code: Stable name of the reason.
        reason: The reason in words.
        message: All that is to be said of it, in one line.
        by_rule: Whether it was left out on purpose.
        advice: What to do, a whole sentence.
        projection: What came out, though it cannot be kept: of an image that diverged at once, in this process.
    """

    name: bytes
    path: str
    code: str
    reason: str
    message: str
    by_rule: bool
    advice: str = ""
    projection: "Projection | None" = field(default=None, repr=False)

    @classmethod
    def of(cls, name: bytes, path: str | os.PathLike[str], error: InvertError) -> Self:
        """Return the failure of an image that cannot be used."""
        by_rule = isinstance(error, ImageError) and error.by_rule
        return cls(name, os.fspath(path), error.code, error.reason, str(error), by_rule, error.advice)

    def without_arrays(self) -> Self:
        """Return what is worth sending to another process."""
        return replace(self, projection=None)

    def record(self) -> dict[str, Any]:
        """Return it as JSON types, as `invert.errors.InvertError.record` does."""
        texts = {"code": self.code, "path": self.path, "reason": self.reason}
        return {**texts, "advice": self.advice, "message": self.message}

    def to_error(self) -> InvertError:
        """Return it as an error that can be raised."""
        if self.code == "diverged":
            return NumericError(f"image '{display_path(self.path)}': {self.reason}", code=self.code)
        error = ImageError(self.reason, path=self.path, advice=self.advice)
        error.code = self.code
        return error


class Warnings:
    """What reading images gave rise to, said so that a folder of images of one kind does not say it a hundred times.

    Args:
        say: Called with a line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._told: Counter[str] = Counter()

    def of(self, path: str | os.PathLike[str], texts: Iterable[str]) -> None:
        """Say what the user should know of an image: the first of its kind is said with the image's name."""
        for text in texts:
            if not self._told[text]:
                self._say(f"image '{display_path(path)}': {text}")
            self._told[text] += 1

    def sum_up(self) -> None:
        """Say of how many more images each was true."""
        for text, count in self._told.items():
            if count > 1:
                self._say(f"{count - 1} more: {text}")
        self._told.clear()


Event = Stepped | Done | Duplicate | Failed

Read = Callable[[Listed, Size, int, ImagePolicy], Target | ImageError]
"""Reads an image, as `invert.batch.images.read_image` does."""

Identity = Callable[[bytes, str], Hashable]
"""Takes the name and the file_sha256 of an image; two images that give the same are one."""


@dataclass
class _Reading:
    """The images on their way into the projector: bad and finished ones are told of and left out."""

    store: ImageStore
    images: Iterable[Listed]
    projector: "ImageProjector"
    policy: ImagePolicy
    depth: int
    identity: Identity | None
    read: Read
    told: deque[Event] = field(default_factory=deque)
    names: deque[bytes] = field(default_factory=deque)
    seen: set[Hashable] = field(default_factory=set)

    def targets(self) -> Iterator[Target]:
        """Yield the images that are to be projected; `names` then has theirs, `told` what became of the others."""
        for listed, target, done in ahead(self._read(), self.depth):
            if isinstance(target, ImageError):
                # What was finished stays, though its file is not there any more or cannot be read this time.
                if not target.by_rule and not self.store.has_entry(listed.name):
                    self.store.fail(listed.name, target.code, target.reason)
                self.told.append(Failed.of(listed.name, listed.path, target))
            elif done is not None:
                self.told.append(done)
            elif self._is_duplicate(listed.name, target):
                self.told.append(Duplicate(listed.name, os.fspath(target.path)))
            else:
                self.names.append(listed.name)
                yield target

    def _is_duplicate(self, name: bytes, target: Target) -> bool:
        if self.identity is None:
            return False
        key = self.identity(name, target.file_sha256)
        if key in self.seen:
            return True
        self.seen.add(key)
        return False

    def _read(self) -> Iterator[tuple[Listed, Target | ImageError, Done | None]]:
        """In a thread of its own, ahead of the optimiser: everything that waits for the disk."""
        synthesis = self.projector.generator.config.synthesis
        size = map_shape(synthesis, synthesis.img_resolution)
        for listed in self.images:
            target = self.read(listed, size[0] if size[0] == size[1] else size, synthesis.img_channels, self.policy)
            done = None
            if isinstance(target, Target):
                found = self.store.finished(listed.name, target.file_sha256)
                if found is not None:
                    path, warnings = os.fspath(target.path), target.remarks
                    facts = (listed.name, path, found.distance, found.status, False, warnings)
                    done = Done(*facts, target=target, kept=found)
            yield listed, target, done


def work(
    projector: "ImageProjector",
    store: ImageStore,
    images: Iterable[Listed],
    policy: ImagePolicy,
    depth: int | None = None,
    identity: Identity | None = None,
    read: Read = read_image,
) -> Generator[Event, None, None]:
    """Project images into a store.

    Args:
        projector: With the settings of the store.
        store: Where results go.
        images: In any order; finished ones are not done again.
        policy: What is accepted as an image.
        depth: How many images are read ahead; default two batches.
        identity: Says which images are the same; by default none is the same as another.
        read: Reads the images, in a thread of its own.

    Raises:
        OutputError: A result cannot be written.
    """
    from invert.projection.projector import StepRecord

    depth = 2 * projector.batch if depth is None else depth
    reading = _Reading(store, images, projector, policy, depth, identity, read)
    for event in projector.run(reading.targets()):
        while reading.told:
            yield reading.told.popleft()
        if isinstance(event, StepRecord):
            yield Stepped(event)
        else:
            yield _keep(store, reading.names.popleft(), event)
    yield from reading.told


def _keep(store: ImageStore, name: bytes, projection: "Projection") -> Event:
    target = projection.target
    path = os.fspath(target.path)
    if not math.isfinite(projection.distance):
        # Not even the start gave a finite image: there is nothing to keep.
        reason = "the network generates nothing finite"
        store.fail(name, "diverged", reason)
        message = f"image '{display_path(path)}': {reason}"
        return Failed(name, path, "diverged", reason, message, False, projection=projection)
    kept = store.keep(name, projection)
    facts = (name, path, projection.distance, projection.status, True, target.remarks)
    return Done(*facts, target=target, projection=projection, kept=kept)
