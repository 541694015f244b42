"""Measure the snapshots of a run, in a process of its own: the training's bits stay what they are without it."""

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from generator.openmp import patient_children
from invert.batch.workers import follow_parent
from invert.errors import InvertError, UsageError, is_out_of_memory
from invert.metrics.settings import MeasureSettings
from invert.metrics.table import Chosen
from invert.runs.folder import RunFolder
from invert.runs.snapshots import BEST, METRICS, Snapshot, best_of, encode_snapshots, read_snapshots, snapshot_files

__all__ = ["Meter", "Plan"]

_PATIENCE = 0.2  # seconds between two looks at whether to stop
_GRACE = 10.0  # seconds for what it is computing just now
_SHAPE = "metrics-shape"


@dataclass(frozen=True)
class Plan:
    """What is measured of each snapshot; it can be sent to a process.

    Attributes:
        data: The training images.
        attribute: Which of their attributes is the label of a conditional network, whose samples get labels as often as
            they do; None: the labels themselves.
        chosen: The metrics; the first one tells which snapshot is the best.
        images: Samples of each snapshot, and the most training images.
        device: Device that computes.
        threads: CPU threads; None: as torch has them.
    """

    data: Path
    attribute: str | None
    chosen: Sequence[Chosen]
    images: int
    device: str
    threads: int | None


class Meter:
    """Measures the snapshots of a run that have not been measured yet.

    Args:
        run: The run's folder.
        plan: What is measured.
        on_warning: Called with a line on a snapshot that cannot be measured.

    Raises:
        InvertError: The metrics cannot be measured of this data: something is missing.
    """

    def __init__(self, run: RunFolder, plan: Plan, on_warning: Callable[[str], None]) -> None:
        self._run, self._plan, self._warn = run, plan, on_warning
        self._given_up: set[int] = set()
        self._start()
        self._receive(lambda: False)  # that it is ready

    def close(self) -> None:
        """End the process."""
        self._connection.close()  # which ends it, where it is not at work
        self._process.join(_PATIENCE)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(_GRACE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def best(self) -> tuple[Snapshot, str] | None:
        """Return the best of the snapshots that are measured, and the metric that says so."""
        return best_of(read_snapshots(self._run.folder))

    def catch_up(self, images: int, stop: Callable[[], bool]) -> Iterator[Snapshot]:
        """Measure every snapshot up to a number of images, write what was found, and keep the best network.

        Args:
            images: How many images training has seen.
            stop: Asked now and then; what is being measured is then left for later.

        Raises:
            OutputError: Something cannot be written.
        """
        names = [one.name for one in self._plan.chosen]
        files = snapshot_files(self._run.folder)
        # Of later images, of other metrics or of other numbers of images: measured again.
        known = {
            one.images: one
            for one in read_snapshots(self._run.folder)
            if one.images in files and one.images <= images and list(one.metrics) == names and self._fits(one)
        }
        for seen, path in files.items():
            if seen > images or seen in known or seen in self._given_up:
                continue
            found = self._measure(path, stop)
            if found is None:
                if stop():
                    return
                self._given_up.add(seen)
                continue
            known[seen] = found
            self._write([known[key] for key in sorted(known)])
            yield found

    def _fits(self, snapshot: Snapshot) -> bool:
        said = snapshot.protocol.get("asked")
        return bool(said == self._asked)

    @property
    def _asked(self) -> dict[str, Any]:
        about = {"attribute": self._plan.attribute} if self._plan.attribute is not None else {}
        return {"images": self._plan.images, **about}

    def _write(self, snapshots: Sequence[Snapshot]) -> None:
        self._run.write(METRICS, encode_snapshots(snapshots))
        best = best_of(snapshots)
        if best is not None:
            self._run.copy(best[0].network, BEST)

    def _measure(self, path: Path, stop: Callable[[], bool]) -> Snapshot | None:
        """Return what was measured; None where that did not work or was stopped."""
        try:
            if not self._process.is_alive():
                self._start()
                self._receive(stop)
            self._connection.send(path)
            found = self._receive(stop)
        except InvertError as error:
            if error.code != _SHAPE:  # a network that grows is measured once it has the images' size
                self._warn(f"{path.name} was not measured: {error}")
            return None
        return None if found is None else self._snapshot(path, found)

    def _snapshot(self, path: Path, found: Sequence[Any]) -> Snapshot:
        (seen,) = (images for images, one in snapshot_files(path.parent).items() if one == path)
        protocol = {one["metric"]: one["protocol"] for one in found}
        return Snapshot(
            seen,
            {one["metric"]: one["values"] for one in found},
            {one["metric"]: one["main"] for one in found},
            {"asked": self._asked, **protocol},
        )

    def _start(self) -> None:
        context = get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_main, args=(self._plan, other), daemon=True)
        with patient_children():
            self._process.start()
        other.close()

    def _receive(self, stop: Callable[[], bool]) -> Sequence[Any] | None:
        """Return what the process answers; None when it is to stop, which ends it.

        Raises:
            InvertError: It could not measure, or ended.
        """
        try:
            while not self._connection.poll(_PATIENCE):
                if stop():
                    self.close()
                    return None
            found = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            reason = f"the process that measures ended with {self._process.exitcode}"
            raise InvertError(reason, code="metrics-process") from None
        if isinstance(found, BaseException):
            raise found
        answer: Sequence[Any] = found
        return answer


def _main(plan: Plan, connection: Connection) -> None:
    """Run in the process: measure each network whose path comes, until nothing comes any more."""
    follow_parent()
    # Orderly: what is killed leaves semaphores behind, of which Python then complains.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        measure = _prepare(plan)
        connection.send([])
    except Exception as error:
        connection.send(_told(error))
        return
    while True:
        try:
            path = connection.recv()
        except (EOFError, OSError):
            return
        try:
            connection.send(measure(path))
        except Exception as error:
            connection.send(_told(error))


def _prepare(plan: Plan) -> Callable[[Path], list[dict[str, Any]]]:
    """Open the data once, see that nothing is missing, and return what measures a network."""
    from invert.metrics.features import features_of
    from invert.metrics.request import Request, open_subject
    from invert.projection.session import prepare_process

    def silent(_: str) -> None:
        return

    prepare_process(plan.device, plan.threads, silent)
    data = open_subject(plan.data, silent, attribute=plan.attribute)
    settings, shared = MeasureSettings(images=plan.images), dict[str, Any]()
    for one in plan.chosen:
        if one.features:
            features_of(Request(one, data, settings, data, device=plan.device, shared=shared))

    def measure(path: Path) -> list[dict[str, Any]]:
        subject, own = open_subject(path, silent), dict[str, Any]()
        if subject.resolution != data.resolution:
            raise UsageError(f"has grown to {subject.resolution} px so far", path=path, code=_SHAPE)
        # What training generates is measured once: its features would fill the cache.
        requests = [
            Request(one, subject, settings, data, device=plan.device, keep=False, shared=shared, own=own)
            for one in plan.chosen
        ]
        return [request.measure().record() | {"path": path.name} for request in requests]

    return measure


def _told(error: Exception) -> InvertError:
    """Return an error that can be sent: with its words, for others than this project's may not survive the way."""
    if isinstance(error, InvertError):
        return error
    if is_out_of_memory(error):
        return InvertError("the process that measures ran out of memory", code="metrics-process")
    return InvertError(f"{type(error).__name__}: {error}", code="metrics-process")
