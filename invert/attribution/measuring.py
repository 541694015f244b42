"""Measure the images of a population, in this process or in several: a batch whose results are measurements."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from invert.attribution.measurements import Measurement, MeasurementStore, read_measurement
from invert.batch.images import Listed, read_image
from invert.batch.work import Done, Event, work
from invert.batch.workers import Preparation, run_workers
from invert.durable import ensure_folder
from invert.images.target import Target

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork
    from invert.attribution.evidence import EvidenceMeter
    from invert.projection.session import Session

__all__ = ["MeasuringPreparation", "measure_population"]


@dataclass(frozen=True)
class MeasuringPreparation(Preparation):
    """All that a process needs to measure images. `out` is the folder of the population."""

    def open_store(self, loaded: "LoadedNetwork") -> MeasurementStore:
        """Return a store with a meter of its own."""
        from invert.attribution.evidence import EvidenceMeter

        ensure_folder(self.out)
        meter = EvidenceMeter(loaded.generator, class_index=self.config.class_index, device=self.config.device)
        return MeasurementStore(meter, self.out)


def measure_population(
    session: "Session",
    folder: Path,
    images: Sequence[Listed],
    workers: int,
    on_event: Callable[[Event], None],
    meter: "EvidenceMeter | None" = None,
) -> tuple[list[Measurement], int]:
    """Measure images, except those measured already.

    Args:
        session: What projects them.
        folder: Folder of the population in a work folder.
        images: Images of the population.
        workers: Number of processes; with one it is this process.
        on_event: Called with each event of the batch.
        meter: What measures projections in this process; by default one is made.

    Returns:
        The measurements in the order of the images, and how many images have none.
    """
    preparation = MeasuringPreparation(folder, session.path, session.sha256, session.config, session.policy)
    ensure_folder(folder)
    if workers == 1:
        store = preparation.open_store(session.network) if meter is None else MeasurementStore(meter, folder)
        events: Iterator[Event] = work(session.projector(), store, images, session.policy)
    else:
        events = _shared_out(session, MeasurementStore(None, folder), preparation, images, workers)
    done = set()
    with contextlib.closing(events):  # type: ignore[type-var]
        for event in events:
            on_event(event)
            if isinstance(event, Done):
                done.add(event.name)
    found = [read_measurement(folder, image.name) for image in images if image.name in done]
    kept = [one for one in found if one is not None]
    return kept, len(images) - len(kept)


def _shared_out(
    session: "Session",
    store: MeasurementStore,
    preparation: MeasuringPreparation,
    images: Sequence[Listed],
    workers: int,
) -> Iterator[Event]:
    """Let processes measure what is left to measure; none is started for what is done."""
    left = []
    for image in images:
        found = None
        if store.has_entry(image.name):
            target = read_image(image, session.resolution, session.channels, session.policy)
            if isinstance(target, Target):
                found = store.finished(image.name, target.file_sha256)
        if found is None:
            left.append(image)
        else:
            yield Done(image.name, os.fspath(image.path), found.distance, found.status, False, ())
    if left:
        yield from run_workers(min(workers, len(left)), preparation, left)
