"""What networks say of images, before any verdict: each image is projected into every network and measured.

    for listed, found in measure(candidates, images): ...       # for each network a `Measured`, or a `Failed`

In a folder that keeps the answers there is a folder for each network, in which an image is known by the hash of its
file, so that it may be moved or renamed:

    WORK/<network>-<sha256>/settings.json          method and run: what all answers of the network have in common
    WORK/<network>-<sha256>/answers/<image>.png    the nearest image that the network synthesises
    WORK/<network>-<sha256>/answers/<image>.json   what was measured; it comes last, and what has none is done again
"""

import contextlib
import dataclasses
import hashlib
import io
import itertools
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from invert.attribution.candidate import LoadedCandidate
from invert.attribution.evidence import EvidenceMeter
from invert.attribution.measurements import Measurement, measurement_of, read_record, write_record
from invert.batch.images import Listed, read_image
from invert.batch.work import Done, Event, Failed, Stepped, work
from invert.batch.workers import Work, run_workers
from invert.durable import ensure_folder, write_atomic
from invert.errors import ImageError, NetworkError, UnreadableError
from invert.images.decoding import ImagePolicy, to_png_bytes
from invert.images.fitting import Size
from invert.images.opening import read_regular
from invert.images.target import Target
from invert.projection.config import ProjectConfig
from invert.projection.projector import Projection, StepRecord
from invert.projection.session import open_session
from invert.store.protocol import ImageStore, Nowhere

__all__ = ["AnswerStore", "Measured", "measure"]

Array = npt.NDArray[np.uint8]

_MAX_PNG = 1 << 28
_SHARED_DEPTH = 1


@dataclass(frozen=True, eq=False)
class Measured:
    """What one network says of one image.

    Attributes:
        target: The image as the network was given it.
        reconstruction: The nearest image that the network makes, uint8 `[H, W, C]`.
        measurement: What the projection measures.
        distance: LPIPS between image and reconstruction; NaN where nothing finite came out.
    """

    target: Target
    reconstruction: Array
    measurement: Measurement
    distance: float

    @classmethod
    def of(cls, projection: Projection, meter: EvidenceMeter) -> "Measured":
        """Measure a projection."""
        target = projection.target
        return cls(
            target, projection.image, measurement_of(os.fsencode(target.path), projection, meter), projection.distance
        )


@dataclass(frozen=True, eq=False)
class _Kept:
    """An answer as a store has it: all but the image itself."""

    measurement: Measurement
    distance: float
    reconstruction: Array

    @property
    def status(self) -> str:
        return self.measurement.status

    def of(self, target: Target) -> Measured:
        """Return the whole answer."""
        # Two files of one content are one image, under two names.
        named = dataclasses.replace(self.measurement, name=os.fsencode(target.path))
        return Measured(target, self.reconstruction, named, self.distance)


class AnswerStore(ImageStore):
    """The answers of one network in a work folder.

    Args:
        candidate: The network.
        folder: Its folder in the work folder.
    """

    def __init__(self, candidate: LoadedCandidate, folder: Path) -> None:
        self._meter, self._folder = candidate.meter, ensure_folder(folder / "answers")
        side = candidate.session.resolution
        self._shape = (side, side, candidate.session.channels)

    def finished(self, name: bytes, file_sha256: str) -> _Kept | None:
        """Return the answer on an image of this very file; None when it is to be asked, or is damaged."""
        record = read_record(self._folder / f"{file_sha256}.json")
        try:
            if record is None or record["file_sha256"] != file_sha256:
                return None
            measurement, distance = Measurement.from_record(record), float(record["distance"])
            data = read_regular(self._folder / f"{file_sha256}.png", _MAX_PNG)
            if hashlib.sha256(data).hexdigest() != record["png_sha256"] or not math.isfinite(distance):
                return None
            with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
                array = np.asarray(image)
            return _Kept(measurement, distance, array.reshape(self._shape))
        except (UnreadableError, OSError, ValueError, KeyError, TypeError, AttributeError, SyntaxError):
            return None

    def has_entry(self, name: bytes) -> bool:
        """Return False: an answer is known by its image's content."""
        return False

    def fail(self, name: bytes, code: str, reason: str) -> None:
        """Keep nothing: an image without a result is tried again."""

    def keep(self, name: bytes, projection: Projection) -> _Kept:
        """Measure a projection and keep the answer.

        Raises:
            OutputError: It cannot be written.
        """
        measurement = measurement_of(os.fsencode(projection.target.path), projection, self._meter)
        found = _Kept(measurement, projection.distance, projection.image)
        key = projection.target.file_sha256
        png = to_png_bytes(found.reconstruction)
        write_atomic(self._folder / f"{key}.png", png)
        more = {"distance": found.distance, "png_sha256": hashlib.sha256(png).hexdigest()}
        write_record(self._folder / f"{key}.json", {**found.measurement.to_record(), **more})
        return found


def measure(
    candidates: Sequence[LoadedCandidate],
    images: Iterable[Listed],
    *,
    workers: int = 1,
    on_step: Callable[[StepRecord], None] | None = None,
) -> Iterator[tuple[Listed, list[Measured | Failed]]]:
    """Ask every network about images, in their order; what a candidate's folder has is not asked again.

    Args:
        candidates: The networks. Several processes need a folder of each.
        images: The images; they are read ahead in threads.
        workers: Processes that share the images.
        on_step: Called after each step of a group of images into one of the networks.

    Yields:
        Each image, and what each network says of it, or why it does not.
    """
    # The engines know an image by its number: names from memory may be there twice.
    numbered = map(_numbered, itertools.count(), images)
    if workers == 1:
        return _here(candidates, numbered, lambda step: on_step(step.record) if on_step is not None else None)
    return _elsewhere(candidates, numbered, workers, on_step)


def _numbered(number: int, listed: Listed) -> Listed:
    return dataclasses.replace(listed, name=b"%d" % number)


def _here(
    candidates: Sequence[LoadedCandidate], images: Iterable[Listed], on_step: Callable[[Stepped], None], depth: int = 0
) -> Iterator[tuple[Listed, list[Measured | Failed]]]:
    own, *streams = _shared(images, 1 + len(candidates))
    reading = _ReadOnce(candidates)
    with contextlib.ExitStack() as held:
        engines = [
            held.enter_context(contextlib.closing(_Engine(candidate, stream, reading, on_step, depth)))
            for candidate, stream in zip(candidates, streams, strict=True)
        ]
        for listed in own:
            yield listed, [engine.outcome(listed.name) for engine in engines]
        for engine in engines:
            engine.finish()


def _shared(images: Iterable[Listed], readers: int) -> list[Iterator[Listed]]:
    """Return an iterator over the same images for each of several readers, which may be threads."""
    source, lock = iter(images), threading.Lock()
    waiting: list[deque[Listed]] = [deque() for _ in range(readers)]

    def read(own: deque[Listed]) -> Iterator[Listed]:
        while True:
            with lock:
                if not own:
                    for listed in itertools.islice(source, 1):
                        for one in waiting:
                            one.append(listed)
                if not own:
                    return
                listed = own.popleft()
            yield listed

    return [read(own) for own in waiting]


class _ReadOnce:
    """Read each image once for each size and number of channels that a network has, whoever asks first."""

    def __init__(self, candidates: Sequence[LoadedCandidate]) -> None:
        sizes = [(one.session.resolution, one.session.channels) for one in candidates]
        self._asked: dict[tuple[Size, int], int] = {size: sizes.count(size) for size in sizes}
        self._lock = threading.Lock()
        self._kept: dict[tuple[bytes, Size, int], tuple[Target | ImageError, int]] = {}

    def __call__(self, listed: Listed, resolution: Size, channels: int, policy: ImagePolicy) -> Target | ImageError:
        """Read an image, or return what another network was given."""
        key = (listed.name, resolution, channels)
        with self._lock:
            found, left = self._kept.pop(key, (None, self._asked[resolution, channels]))
            if found is None:
                found = read_image(listed, resolution, channels, policy)
            if left > 1:
                self._kept[key] = found, left - 1
        return found


class _Engine:
    """One network at work on the images; it goes on only as far as it is asked."""

    def __init__(
        self,
        candidate: LoadedCandidate,
        images: Iterable[Listed],
        read: _ReadOnce,
        on_step: Callable[[Stepped], None],
        depth: int,
    ) -> None:
        self._meter, self._on_step = candidate.meter, on_step
        session, folder = candidate.session, candidate.folder
        store = Nowhere() if folder is None else AnswerStore(candidate, folder)
        self._events = work(session.projector(), store, images, session.policy, depth or None, read=read)
        self._outcomes: dict[bytes, Measured | Failed] = {}

    def outcome(self, name: bytes) -> Measured | Failed:
        """Return what the network says of an image, or why it does not."""
        while name not in self._outcomes:
            self._hear(next(self._events))
        return self._outcomes.pop(name)

    def finish(self) -> None:
        """Hear what is left: nothing, or the error that ended the images early.

        Raises:
            Exception: Whatever it was.
        """
        for event in self._events:
            self._hear(event)

    def close(self) -> None:
        """End the thread that reads ahead."""
        self._events.close()

    def _hear(self, event: Event) -> None:
        if isinstance(event, Stepped):
            self._on_step(event)
        elif isinstance(event, Done | Failed):
            if isinstance(event, Done) and isinstance(event.kept, _Kept) and event.target is not None:
                self._outcomes[event.name] = event.kept.of(event.target)
            elif event.projection is not None:
                # What diverged at once is measured too: that nothing finite came out is an answer.
                self._outcomes[event.name] = Measured.of(event.projection, self._meter)
            elif isinstance(event, Failed):
                self._outcomes[event.name] = event


@dataclass(frozen=True)
class _Asked:
    """A network as a process that is started gets to know it."""

    name: str
    path: Path
    sha256: str
    config: ProjectConfig
    policy: ImagePolicy
    folder: Path

    def load(self) -> LoadedCandidate:
        """Load the network in this process.

        Raises:
            NetworkError: The file cannot be read any more, or has changed.
        """
        session = open_session(self.path, self.config, self.policy)
        if session.sha256 != self.sha256:
            raise NetworkError("changed while it was in use", path=self.path, advice="Run again.")
        return LoadedCandidate(self.name, self.path, self.sha256, session=session, folder=self.folder)


@dataclass(frozen=True)
class _Preparation:
    """All that a process needs to ask networks about images; it can be sent to one that is started."""

    asked: tuple[_Asked, ...]

    def __call__(self) -> Work:
        candidates = [one.load() for one in self.asked]
        return lambda images: self._work(candidates, images)

    @staticmethod
    def _work(candidates: Sequence[LoadedCandidate], images: Iterable[Listed]) -> Iterator[Event]:
        """Tell of each image once, when all networks have answered; the answers are in their folders then."""
        steps: deque[Stepped] = deque()
        for listed, found in _here(candidates, images, steps.append, _SHARED_DEPTH):
            yield from itertools.islice(steps, 0, 1)  # a sign of life is enough
            steps.clear()
            failed = next((one for one in found if isinstance(one, Failed)), None)
            answers = [one for one in found if isinstance(one, Measured)]
            if failed is not None:
                yield failed
            else:
                distance, status = answers[0].distance, answers[0].measurement.status
                yield Done(listed.name, os.fspath(listed.path), distance, status, True, ())


def _elsewhere(
    candidates: Sequence[LoadedCandidate],
    images: Iterable[Listed],
    workers: int,
    on_step: Callable[[StepRecord], None] | None,
) -> Iterator[tuple[Listed, list[Measured | Failed]]]:
    """Let processes ask, and take the answers from where they keep them."""
    asked = tuple(
        _Asked(one.name, one.path, one.sha256, one.config, one.session.policy, one.folder)
        for one in candidates
        if one.folder is not None
    )
    own, handed = _shared(images, 2)
    told: dict[bytes, Done | Failed] = {}
    with contextlib.closing(run_workers(workers, _Preparation(asked), handed)) as events:  # type: ignore[type-var]
        for listed in own:
            while listed.name not in told:
                event = next(events)
                if isinstance(event, Stepped) and on_step is not None:
                    on_step(event.record)
                elif isinstance(event, Done | Failed):
                    told[event.name] = event
            ending = told.pop(listed.name)
            if isinstance(ending, Failed):
                yield listed, [ending] * len(candidates)
            else:
                yield listed, [_answer(candidate, listed) for candidate in candidates]
        for _ in events:
            pass


def _answer(candidate: LoadedCandidate, listed: Listed) -> Measured | Failed:
    """Return the answer that a process has kept."""
    session = candidate.session
    target = read_image(listed, session.resolution, session.channels, session.policy)
    if isinstance(target, ImageError):
        return Failed.of(listed.name, listed.path, target)
    if candidate.folder is not None:
        kept = AnswerStore(candidate, candidate.folder).finished(listed.name, target.file_sha256)
        if kept is not None:
            return kept.of(target)
    # What is not finite is kept nowhere, and a file may have changed in between: asked here, then.
    ((_, (found,)),) = _here([dataclasses.replace(candidate, folder=None)], [listed], lambda _: None)
    return found
