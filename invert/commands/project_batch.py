"""`invert project --out FILE.h5`: many images, one file out, nothing lost."""

import contextlib
import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invert.batch.images import Listed, list_images
from invert.batch.preparation import Preparation, describe
from invert.batch.resume import changed_images, restore
from invert.batch.work import Done, Event, Failed
from invert.batch.workers import run_workers
from invert.cli import options
from invert.cli.output import Output
from invert.errors import ExitCode, NoInputError, UsageError, display_path
from invert.hdf5.pack import PackResult, pack
from invert.images.decoding import ImagePolicy
from invert.projection.config import ProjectConfig
from invert.store.journal import FinishedOutput, Journal, begin_journal, finished_output
from invert.store.locks import OutputLock, Shard, lock_output, read_manifest
from invert.store.names import in_shard

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork
    from invert.store.manifest import Manifest

__all__ = ["BatchOptions", "Found", "is_batch", "list_found", "pack_with_progress", "project_batch"]

_SUFFIXES = (".h5", ".hdf5")


@dataclass(frozen=True)
class BatchOptions:
    """What only a batch has: processes, share of the images, and what is kept of each image."""

    workers: int = 1
    shard: Shard | None = None
    noise: str = "none"
    images: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Found:
    """The images of a batch: all their names, and those of this shard."""

    names: Sequence[bytes]
    mine: Sequence[Listed]


def is_batch(out: Path) -> bool:
    """Tell whether an output is one HDF5 file rather than a folder."""
    return out.suffix.lower() in _SUFFIXES


def list_found(images: Sequence[Path], follow: bool, shard: Shard | None, output: Output) -> Found:
    """List the images; those that a rule leaves out are said, not counted."""
    names, mine = [], []
    for listed in list_images(images, follow):
        if listed.error is not None and listed.error.by_rule:
            output.warning(str(listed.error))
            continue
        names.append(listed.name)
        if in_shard(listed.name, shard):
            mine.append(listed)
    if not names:
        advice = "Name image files, or a folder with PNG, JPEG, WebP or BMP files."
        raise NoInputError("there are no images", path=images[0] if len(images) == 1 else None, advice=advice)
    return Found(names, mine)


def project_batch(
    images: Sequence[Path],
    network_path: Path,
    out: Path,
    config: ProjectConfig,
    policy: ImagePolicy,
    batch: BatchOptions,
    output: Output,
    *,
    follow: bool = False,
) -> int:
    """Project images into one HDF5 file, and return the exit code."""
    # The lock comes before everything slow, so that a second process hears of the first at once.
    with lock_output(out, batch.shard) as lock:
        found = list_found(images, follow, batch.shard, output)
        loaded = options.load_network(network_path, output)
        config = _settle(config, batch, loaded, len(found.names), lock)
        manifest = _manifest(loaded, config, policy, batch, output)
        done = None if batch.overwrite else finished_output(out)
        if done is None:
            journal = begin_journal(lock, manifest, overwrite=batch.overwrite, on_warning=output.warning)
        else:
            taken_up = _take_up(done, manifest, found, policy, lock, output)
            if taken_up is None:
                return _tell_finished(done, out, output)
            journal = taken_up
        preparation = Preparation(out, network_path, loaded.provenance.sha256, config, policy)
        run = _Run(found, journal, batch, lock, output)
        run.work(_events(preparation, loaded, journal, found.mine, batch))
        return run.end()


def _take_up(
    done: FinishedOutput,
    manifest: "Manifest",
    found: Found,
    policy: ImagePolicy,
    lock: OutputLock,
    output: Output,
) -> Journal | None:
    """Return a journal that begins with what a finished file has; None when there is nothing to add to it."""
    changes = done.manifest.changes_to(manifest)
    if changes and not lock.begun:
        advice = "Use the same settings, another --out, or --overwrite to start afresh."
        reason = f"was made with other settings ({'; '.join(changes)})"
        raise UsageError(reason, path=lock.out, advice=advice, code="settings-differ")
    if not lock.begun and not changed_images(lock.out, found.mine, policy):
        return None
    journal = begin_journal(lock, manifest, overwrite=not lock.begun, on_warning=output.warning)
    if not changes:
        restore(journal, lock.out)
    return journal


def _settle(
    config: ProjectConfig, batch: BatchOptions, loaded: "LoadedNetwork", images: int, lock: OutputLock
) -> ProjectConfig:
    """Return the settings with nothing left open; a batch size that was not given is that of the run taken up."""
    import torch

    from invert.projection.session import default_batch, settle_bank

    kind = options.device_kind(config.device)
    if kind == "cuda" and batch.workers > 1:
        raise UsageError("--workers is for processors", advice="One process keeps a GPU busy: leave it out.")
    threads = config.threads
    if threads is None:
        threads = torch.get_num_threads() if batch.workers == 1 else max(1, (os.cpu_count() or 1) // batch.workers)
    size = config.batch
    if size is None:
        begun = read_manifest(lock.work) if lock.begun and not batch.overwrite else None
        resolution = loaded.generator.config.synthesis.img_resolution
        size = int(begun.run["batch"]) if begun is not None else default_batch(resolution, kind, images)
    config = settle_bank(config, loaded.generator.config.synthesis.img_resolution)
    return dataclasses.replace(config, batch=size, threads=threads, device=kind)


def _manifest(
    loaded: "LoadedNetwork", config: ProjectConfig, policy: ImagePolicy, batch: BatchOptions, output: Output
) -> "Manifest":
    from invert.projection.session import prepare_process, run_record

    prepare_process(config.device, config.threads, output.note)
    run = run_record(config)
    return describe(loaded, config, policy, run, noise=batch.noise, images=batch.images)


def _events(
    preparation: Preparation,
    loaded: "LoadedNetwork",
    journal: Journal,
    images: Iterable[Listed],
    batch: BatchOptions,
) -> Iterator[Event]:
    if batch.workers == 1:
        return preparation.work_with(loaded, journal)(images)
    return run_workers(batch.workers, preparation, images)


class _Run:
    """The images of one command on their way, and what the user hears of them."""

    def __init__(self, found: Found, journal: Journal, batch: BatchOptions, lock: OutputLock, output: Output) -> None:
        self._found, self._journal, self._batch = found, journal, batch
        self._lock, self._output = lock, output
        self._new = self._reused = self._failed = self._diverged = 0
        self._told: Counter[str] = Counter()
        self._progress = output.batch_progress(len(found.mine))

    def work(self, events: Iterator[Event]) -> None:
        """Follow the events to their end; when the user stops it, what is finished stays."""
        self._journal.drop_failures(self._found.names, self._batch.shard)
        try:
            # The generator is closed at once: its processes and its reading thread end before anything is said.
            with contextlib.closing(events):  # type: ignore[type-var]
                for event in events:
                    self._hear(event)
        except KeyboardInterrupt:
            self._summary("interrupted", None)
            self._output.note("the same command again does the rest")
            raise
        self._journal.complete(len(self._found.mine), self._batch.shard)

    def end(self) -> int:
        """Pack, unless other shards are to come, and return the exit code."""
        for text, count in self._told.items():
            if count > 1:
                self._output.warning(f"{count - 1} more: {text}")
        gone = self._journal.gone(self._found.names)
        if gone:
            self._output.warning(f"{gone} finished images are not there any more; their results are kept")
        packed = None
        if self._batch.shard is None and self._new + self._reused + gone:
            packed = pack_with_progress(self._lock, self._output)
        code = ExitCode.PARTIAL if self._failed or self._diverged or gone else ExitCode.OK
        if not self._new + self._reused + gone and self._found.mine:
            code = ExitCode.NUMERIC if self._diverged else ExitCode.NO_INPUT
        if self._batch.shard is not None and code != ExitCode.OK:
            code = ExitCode.PARTIAL  # the other shards decide whether there is anything usable
        self._summary("done" if code == ExitCode.OK else "some-failed", packed)
        return code

    def _hear(self, event: Event) -> None:
        if isinstance(event, Done):
            self._done(event)
        elif isinstance(event, Failed):
            self._fail(event)
        else:
            self._progress.beat()

    def _done(self, event: Done) -> None:
        self._new += event.is_new
        self._reused += not event.is_new
        self._diverged += event.status != "ok"
        for text in event.warnings if event.is_new else ():
            if not self._told[text]:
                self._output.warning(f"image '{display_path(event.path)}': {text}")
            self._told[text] += 1
        if event.status != "ok" and event.is_new:
            self._output.warning(f"image '{display_path(event.path)}': a step was not finite, its best state is kept")
        self._progress.image(event.distance, is_new=event.is_new)
        record = {
            "type": "image",
            "code": "projected" if event.is_new else "finished-before",
            "path": event.path,
            "distance": event.distance,
            "status": event.status,
            "warnings": list(event.warnings),
        }
        self._output.event(record)

    def _fail(self, event: Failed) -> None:
        self._failed += event.code != "diverged"
        self._diverged += event.code == "diverged"
        self._progress.image(None, is_new=False)
        self._output.error(event.message)
        self._output.event({"type": "image", "code": event.code, "path": event.path, "reason": event.reason})

    def _summary(self, code: str, packed: PackResult | None) -> None:
        done, images = self._new + self._reused, len(self._found.mine)
        lines = [f"{done} of {images} images done, {self._reused} of them before; {self._failed} failed"]
        record: dict[str, Any] = {
            "type": "summary",
            "code": code,
            "images": images,
            "projected": self._new,
            "reused": self._reused,
            "failed": self._failed,
            "diverged": self._diverged,
            "mean_distance": self._progress.mean_distance,
        }
        if self._progress.mean_distance is not None:
            lines.append(f"distance: mean {self._progress.mean_distance:.4f}")
        if packed is not None:
            record |= pack_record(packed)
            lines.append(pack_line(packed))
        elif self._batch.shard is not None and code != "interrupted":
            lines.append(f"when all shards are done: invert pack {display_path(self._lock.out)}")
        self._output.result(record, *lines)


def pack_with_progress(lock: OutputLock, output: Output, *, partial: bool = False) -> PackResult:
    """Pack an output, and say what takes long."""
    said: set[str] = set()

    def on_progress(stage: str, done: int, total: int) -> None:
        # Worth a line only where it takes a while.
        if done and stage not in said:
            said.add(stage)
            output.note(f"packing: {stage} {total} images")

    return pack(lock, partial=partial, on_progress=on_progress)


def pack_record(packed: PackResult) -> dict[str, Any]:
    """Return what --json says of a packed file."""
    return {
        "out": os.fspath(packed.out),
        "sha256": packed.sha256,
        "size": packed.size,
        "rows": packed.rows,
        "failures": packed.failures,
        "damaged": list(packed.damaged),
    }


def pack_line(packed: PackResult) -> str:
    """Return what people are told of a packed file."""
    rows = f"{packed.rows} images" if packed.rows != 1 else "1 image"
    return f"wrote {display_path(packed.out)}: {rows}, {packed.size:,} bytes, sha256 {packed.sha256}"


def _tell_finished(done: FinishedOutput, out: Path, output: Output) -> int:
    record = {
        "type": "summary",
        "code": "finished-before",
        "images": done.images + done.failures,
        "projected": 0,
        "reused": done.images,
        "failed": done.failures,
        "out": os.fspath(out),
    }
    line = f"{done.images} of {done.images + done.failures} images were done before: {display_path(out)}"
    output.result(record, line)
    return ExitCode.PARTIAL if done.failures else ExitCode.OK
