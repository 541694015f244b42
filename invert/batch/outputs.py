"""Where the results of a run go: nowhere, to a folder, or to one HDF5 file. Each opens a store for the engine.

with open_output(job, on_note, on_warning) as output:       # an HDF5 file is locked here, before anything heavy
    store = output.begin(session, found)                    # None: an earlier run did everything
    ...                                                     # `invert.batch.work.work` fills the store
    output.finish(found, complete=True)
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from invert.batch.films import Films
from invert.batch.images import Found, OnMessage
from invert.batch.job import Job, is_file
from invert.batch.resume import FinishedOutput, changed_images, finished_output, restore
from invert.batch.work import Done, Identity
from invert.errors import UsageError
from invert.hdf5.pack import PackResult, pack
from invert.hdf5.reading import open_latents
from invert.images.alignment import paste_square, square_of
from invert.images.decoding import ImagePolicy, to_png_bytes
from invert.images.opening import read_regular
from invert.images.target import safe_name
from invert.store.entry import MAX_ENTRY, decode
from invert.store.folder import FolderStore, known_images, open_folder
from invert.store.index import INDEX, PASTED, SNAPSHOTS, FolderEntry, read_index
from invert.store.journal import Journal, begin_journal
from invert.store.locks import OutputLock, WorkFolder, lock_output, read_manifest
from invert.store.manifest import Manifest
from invert.store.names import name_key, printable
from invert.store.npz import MAX_BYTES, decode_sheet, read_projection
from invert.store.protocol import ImageStore, Nowhere
from invert.store.result import Result

if TYPE_CHECKING:
    from invert.projection.projector import Projection
    from invert.projection.session import Records, Session

__all__ = [
    "FileOutput",
    "FolderOutput",
    "RunOutput",
    "earlier_records",
    "open_output",
    "pack_record",
    "pack_told",
]


class RunOutput:
    """Where the results of a run go; this one keeps nothing. Made by `open_output`.

    Attributes:
        written: Results of an earlier run, as real paths: they are no input.
        identity: Says which images are the same; None where none is the same as another.
        packed: The file that was made at the end.
        films: Watches the searches; None where nobody wants to see them.
    """

    written: frozenset[Path] = frozenset()
    identity: Identity | None = None
    packed: PackResult | None = None
    films: Films | None = None

    def resumed(self) -> "Records | None":
        """Return the records of what is there already; None where nothing is.

        Raises:
            UsageError: It is damaged, or something else.
        """
        return None

    def begin(self, session: "Session", found: Found) -> ImageStore | None:
        """Return the store for a run; None when an earlier run did everything.

        Args:
            session: With the settings of all results.
            found: The images.

        Raises:
            UsageError: There are results of other settings.
            BusyError: Another process has the output.
            OutputError: It cannot be written.
        """
        return Nowhere()

    def finish(self, found: Found, *, complete: bool) -> None:
        """End a run.

        Args:
            found: The images.
            complete: Whether it went through all of them.

        Raises:
            OutputError: It cannot be written.
        """

    def gone(self, found: Found) -> int:
        """Return how many results are of images that are not there any more."""
        return 0

    def finished_before(self) -> FinishedOutput | None:
        """Return what an earlier run finished, when `begin` gave no store."""
        return None

    def names_before(self, found: Found) -> list[bytes]:
        """Return which of these images an earlier run has results of, when `begin` gave no store."""
        return []

    def facts(self, done: Done) -> dict[str, Any]:
        """Return what is to be said of a result that this output has, as JSON types."""
        return {}

    def stored(self, done: Done) -> Result:
        """Return a result of before.

        Raises:
            NoInputError: It cannot be read.
        """
        raise NotImplementedError

    def summary(self) -> dict[str, Any]:
        """Return what is to be said of the whole output, as JSON types."""
        return {}


class FolderOutput(RunOutput):
    """A folder of .npz and .png, with an index."""

    def __init__(self, job: Job, folder: Path, held: contextlib.ExitStack, on_warning: OnMessage) -> None:
        self._job, self.folder, self._held, self._on_warning = job, folder, held, on_warning
        self.written = frozenset(known_images(folder))
        self._store: FolderStore | None = None

    def _watch(self, found: Found) -> None:
        """Prepare the films that are wanted; those of images that are done already are not made."""
        if self._job.video is None and not self._job.snapshots:
            return
        self.films = Films(self._job.video, self._job.snapshots, several=found.count != 1)
        if not self._job.overwrite:
            index = read_index(self.folder)
            done = set() if index is None else {entry.image for entry in index.entries.values()}
            self.films.check(safe_name(os.fsdecode(name)) for name in found.names if printable(name) not in done)

    def resumed(self) -> "Records | None":
        index = None if self._job.overwrite else read_index(self.folder)
        return None if index is None or not index.entries else _records(index.method, index.runs[-1])

    def begin(self, session: "Session", found: Found) -> ImageStore:
        self._watch(found)
        store = open_folder(
            self.folder,
            session.method,
            session.run,
            overwrite=self._job.overwrite,
            origin=session.network.provenance,
            beside={
                **({} if self.films is None else {SNAPSHOTS: self.films.strip}),
                **({PASTED: _pasted} if self._job.paste else {}),
            },
            on_warning=self._on_warning,
        )
        self._store = self._held.enter_context(store)
        self.identity = self._store.key
        return self._store

    def finish(self, found: Found, *, complete: bool) -> None:
        if self._store is not None:
            self._store.finish()

    def facts(self, done: Done) -> dict[str, Any]:
        entry = done.kept
        if not isinstance(entry, FolderEntry):
            return {}
        names = {SNAPSHOTS: "snapshots", PASTED: "pasted"}
        files = {names.get(suffix, suffix[1:]): str(self.folder / f"{entry.name}{suffix}") for suffix in entry.digests}
        film = None if self.films is None else self.films.made(entry.name)
        return {**entry.facts, **files, **({} if film is None else {"film": str(film)})}

    def stored(self, done: Done) -> Result:
        facts = self.facts(done)
        found = read_projection(Path(facts["npz"]))
        is_exact = found.method.get("preset") == "exact"
        image = None if is_exact else _right_half(read_regular(facts["png"], MAX_BYTES))
        return dataclasses.replace(found, name=done.name, reconstruction=image)

    def summary(self) -> dict[str, Any]:
        return {"results": str(self.folder / INDEX)}


def _pasted(projection: "Projection") -> bytes | None:
    """Return the photo with the reconstruction in the place of its face, as PNG; None of what was not aligned."""
    target = projection.target
    if target.quad is None or target.photo is None:
        return None
    return to_png_bytes(paste_square(target.photo(), square_of(target.quad), projection.image), is_sheet=True)


def _right_half(png: bytes) -> NDArray[np.uint8] | None:
    """Return the reconstruction `[H, W, C]`, which is beside the target; None where there are not two images.

    Raises:
        ImageError: It is damaged.
    """
    both = decode_sheet(png)
    width = both.shape[1]
    return None if width % 2 else both[:, width // 2 :]


class FileOutput(RunOutput):
    """One HDF5 file, by way of a journal; this process holds its lock."""

    def __init__(self, job: Job, lock: OutputLock, on_note: OnMessage, on_warning: OnMessage) -> None:
        self._job, self.lock = job, lock
        self._on_note, self._on_warning = on_note, on_warning
        self._journal: Journal | None = None
        self._before = None if job.overwrite else finished_output(lock.out)

    def resumed(self) -> "Records | None":
        if self._job.overwrite:
            return None
        # Asked again when another shard may have begun meanwhile.
        return _records_of(read_manifest(self.lock.work), self._before)

    def begin(self, session: "Session", found: Found) -> ImageStore | None:
        # Only now: the module imports torch, and an output is opened before.
        from invert.projection.projector import check_square

        check_square(session.network.generator, "an HDF5 file")
        manifest = _manifest(session, self._job)
        self._journal = self._begin(manifest, session.policy, found)
        if self._journal is not None and found.count is not None:
            self._journal.drop_failures(found.names, self._job.shard)
        return self._journal

    def _begin(self, manifest: Manifest, policy: ImagePolicy, found: Found) -> Journal | None:
        lock, before = self.lock, self._before
        if before is None:
            return begin_journal(lock, manifest, overwrite=self._job.overwrite, on_warning=self._on_warning)
        changes = before.manifest.changes_to(manifest)
        if changes and not lock.begun:
            advice = "Use the same settings, another --out, or --overwrite to start afresh."
            reason = f"was made with other settings ({'; '.join(changes)})"
            raise UsageError(reason, path=lock.out, advice=advice, code="settings-differ")
        # Whether images that come one by one have changed is not known before.
        if not lock.begun and found.count is not None and not changed_images(lock.out, found.mine, policy):
            return None
        journal = begin_journal(lock, manifest, overwrite=not lock.begun, on_warning=self._on_warning)
        if not changes:
            restore(journal, lock.out)
        return journal

    def finish(self, found: Found, *, complete: bool) -> None:
        if self._journal is None or not complete:
            return
        self._journal.drop_failures(found.names, self._job.shard)
        self._journal.complete(len(found.names) if found.count is None else found.count, self._job.shard)
        if self._job.shard is None and self._journal.counts().finished:
            self.packed = pack_told(self.lock, self._on_note)

    def gone(self, found: Found) -> int:
        return 0 if self._journal is None else self._journal.gone(found.names)

    def finished_before(self) -> FinishedOutput | None:
        return self._before

    def names_before(self, found: Found) -> list[bytes]:
        with open_latents(self.lock.out) as latents:
            known = set(latents.names)
        return [name for name in found.names if name in known]

    def stored(self, done: Done) -> Result:
        if self._journal is None:
            return self._packed_result(done.name)
        work = self.lock.work
        return decode(read_regular(work.entry(name_key(done.name)), MAX_ENTRY, follow=False), self._journal.manifest)

    def _packed_result(self, name: bytes) -> Result:
        with open_latents(self.lock.out) as latents:
            return latents[latents.names.index(name)]

    def summary(self) -> dict[str, Any]:
        return {} if self.packed is None else pack_record(self.packed)


def earlier_records(out: Path) -> "Records | None":
    """Return the records of what an HDF5 file or its work folder has already; None where nothing was begun.

    Args:
        out: The file.

    Raises:
        UsageError: It is damaged, or something else.
    """
    return _records_of(read_manifest(WorkFolder(out)), finished_output(out))


def _records_of(begun: Manifest | None, finished: FinishedOutput | None) -> "Records | None":
    manifest = finished.manifest if begun is None and finished is not None else begun
    return None if manifest is None else _records(manifest.method, manifest.run)


def _records(method: Mapping[str, Any], run: Mapping[str, Any]) -> "Records":
    # Only now: the module imports torch, and an output is opened before.
    from invert.projection.session import Records

    return Records(method, run)


def _manifest(session: "Session", job: Job) -> Manifest:
    """Return what all images of a file have in common."""
    provenance, settings = session.network.provenance, session.network.generator.config
    network = {
        "sha256": provenance.sha256,
        "weights_sha256": provenance.weights_sha256,
        "family": provenance.family,
        "resolution": settings.synthesis.img_resolution,
        "channels": settings.synthesis.img_channels,
        "num_ws": settings.synthesis.num_ws,
        "w_dim": settings.synthesis.w_dim,
    }
    return Manifest(session.method, session.run, network, job.noise, job.images)


@contextlib.contextmanager
def open_output(job: Job, on_note: OnMessage, on_warning: OnMessage) -> Iterator[RunOutput]:
    """Open where the results of a job go, for the length of the block.

    An HDF5 file is locked at once, so that a second process hears of the first before it loads anything heavy.

    Args:
        job: What is to be done.
        on_note: Called with a line on what takes long.
        on_warning: Called with a line on what the user should know.

    Raises:
        BusyError: Another process has it.
        UsageError: Something else is in its place.
        OutputError: It cannot be written.
    """
    with contextlib.ExitStack() as held:
        if job.out is None:
            yield RunOutput()
        elif is_file(job.out):
            lock = held.enter_context(lock_output(job.out, job.shard))
            yield FileOutput(job, lock, on_note, on_warning)
        else:
            yield FolderOutput(job, job.out, held, on_warning)


def pack_told(lock: OutputLock, on_note: Callable[[str], None], *, partial: bool = False) -> PackResult:
    """Pack an output, and say what takes long; see `invert.hdf5.pack.pack`."""
    said: set[str] = set()

    def on_progress(stage: str, done: int, total: int) -> None:
        # Worth a line only where it takes a while.
        if done and stage not in said:
            said.add(stage)
            on_note(f"packing: {stage} {total} images")

    return pack(lock, partial=partial, on_progress=on_progress)


def pack_record(packed: PackResult) -> dict[str, Any]:
    """Return what is to be said of a packed file, as JSON types."""
    return {
        "out": os.fspath(packed.out),
        "sha256": packed.sha256,
        "size": packed.size,
        "rows": packed.rows,
        "failures": packed.failures,
        "damaged": list(packed.damaged),
    }
