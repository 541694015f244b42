"""What one process of a batch does: read, project, save; and what it tells of it."""

import math
import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from invert.batch.images import Listed, ahead, read_image
from invert.errors import ImageError, display_path
from invert.images.decoding import ImagePolicy
from invert.images.target import Target
from invert.store.protocol import ImageStore

if TYPE_CHECKING:
    from invert.projection.projector import Projection, Projector

__all__ = ["Done", "Event", "Failed", "Stepped", "work"]


@dataclass(frozen=True)
class Stepped:
    """A group of images took one step."""


@dataclass(frozen=True)
class Done:
    """An image has its entry; `is_new` if it was made now. `warnings` are those of reading it."""

    name: bytes
    path: str
    distance: float
    status: str
    is_new: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Failed:
    """An image has no result; `by_rule`: it was left out on purpose."""

    name: bytes
    path: str
    code: str
    reason: str
    message: str
    by_rule: bool


Event = Stepped | Done | Failed


class _Reading:
    """The images on their way into the projector: bad and finished ones are told of and left out."""

    def __init__(
        self,
        store: ImageStore,
        images: Iterable[Listed],
        projector: "Projector",
        policy: ImagePolicy,
        depth: int | None,
    ) -> None:
        self._store, self._images, self._policy = store, images, policy
        synthesis = projector.generator.config.synthesis
        self._resolution, self._channels = synthesis.img_resolution, synthesis.img_channels
        self._depth = 2 * projector.batch if depth is None else depth
        self.told: deque[Event] = deque()
        self.names: deque[bytes] = deque()

    def targets(self) -> Iterator[Target]:
        """Yield the images that are to be projected; `names` then has theirs, `told` what became of the others."""
        for listed, target, done in ahead(self._read(), self._depth):
            if isinstance(target, ImageError):
                # What was finished stays, though its file is not there any more or cannot be read this time.
                if not target.by_rule and not self._store.has_entry(listed.name):
                    self._store.fail(listed.name, target.code, target.reason)
                self.told.append(_failed(listed, target))
            elif done is not None:
                self.told.append(done)
            else:
                self.names.append(listed.name)
                yield target

    def _read(self) -> Iterator[tuple[Listed, Target | ImageError, Done | None]]:
        """In a thread of its own, ahead of the optimiser: everything that waits for the disk."""
        for listed in self._images:
            target = read_image(listed, self._resolution, self._channels, self._policy)
            done = None
            if isinstance(target, Target):
                found = self._store.finished(listed.name, target.file_sha256)
                if found is not None:
                    path, warnings = os.fspath(target.path), tuple(target.warnings)
                    done = Done(listed.name, path, found.distance, found.status, False, warnings)
            yield listed, target, done


def work(
    projector: "Projector",
    store: ImageStore,
    images: Iterable[Listed],
    policy: ImagePolicy,
    depth: int | None = None,
) -> Iterator[Event]:
    """Project images into a store.

    Args:
        projector: With the settings of the store.
        store: Where results go. images: In any order; those that are finished are not done again.
        policy: What is accepted as an image.
        depth: How many images are read ahead; default two batches.

    Raises:
        OutputError: An entry cannot be written.
    """
    from invert.projection.projector import StepRecord

    reading = _Reading(store, images, projector, policy, depth)
    for event in projector.run(reading.targets()):
        while reading.told:
            yield reading.told.popleft()
        if isinstance(event, StepRecord):
            yield Stepped()
        else:
            yield _save(store, reading.names.popleft(), event)
    yield from reading.told


def _save(store: ImageStore, name: bytes, projection: "Projection") -> Event:
    target = projection.target
    path = os.fspath(target.path)
    if not math.isfinite(projection.distance):
        reason = "the network draws nothing finite"
        store.fail(name, "diverged", reason)
        return Failed(name, path, "diverged", reason, f"image '{display_path(path)}': {reason}", False)
    store.keep(name, projection)
    return Done(name, path, projection.distance, projection.status, True, tuple(target.warnings))


def _failed(listed: Listed, error: ImageError) -> Failed:
    return Failed(listed.name, os.fspath(listed.path), error.code, error.reason, str(error), error.by_rule)
