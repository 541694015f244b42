"""A run of `invert project` without the network: `python -m tests.batch.journal_child OUT COUNT [options]`.

It locks the output, opens its journal, saves what is not finished and packs, and ends with the exit codes of
`invert`. To be killed, disturbed and started again.
"""

import argparse
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from invert.batch.resume import finished_output
from invert.errors import BusyError, InvertError, NoInputError, UsageError
from invert.hdf5.pack import pack
from invert.store.journal import Journal, begin_journal
from invert.store.locks import OutputLock, lock_output
from invert.store.names import in_shard
from tests.batch.batch_case import make_entry, make_manifest

FAILS = 4
"""Every so many-th image has no result."""


def names_of(count: int) -> list[bytes]:
    """Return the names of the images of a run."""
    return [b"%03d.png" % number for number in range(count)]


def main(arguments: Sequence[str]) -> int:
    """Run, and map errors to exit codes as `invert.cli.main` does."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("--shard", type=lambda text: tuple(map(int, text.split("/"))))
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--reverse", action="store_true")
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--tell", action="store_true", help="write the name of each image that is made")
    parser.add_argument("--hold", type=float, default=0, help="say so and sleep, with the journal open")
    parser.add_argument("--pause", type=float, default=0, help="seconds to each image")
    parser.add_argument("--file-limit", type=int, help="bytes that a file may have from packing on")
    try:
        _run(parser.parse_args(arguments))
    except InvertError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)
    return 0


def _run(options: argparse.Namespace) -> None:
    manifest = make_manifest(steps=options.steps)
    with lock_output(options.out, options.shard) as lock:
        if not lock.begun and not options.overwrite:
            before = finished_output(options.out)
            if before is not None and before.manifest.changes_to(manifest):
                raise UsageError("exists with other settings", path=options.out)
            if before is not None and before.images + before.failures == options.count:
                return
        journal = begin_journal(lock, manifest, overwrite=options.overwrite)
        if options.hold:
            sys.stdout.write("held\n")
            sys.stdout.flush()
            time.sleep(options.hold)
        _make(journal, options)
        journal.complete(options.count, options.shard)
        _finish(lock, options.file_limit)


def _make(journal: Journal, options: argparse.Namespace) -> None:
    images = list(enumerate(names_of(options.count)))
    for number, name in reversed(images) if options.reverse else images:
        entry = make_entry(journal.manifest, name)
        if not in_shard(name, options.shard) or journal.finished(name, entry.file_sha256):
            continue
        time.sleep(options.pause)
        if number % FAILS == FAILS - 1:
            journal.fail(name, "image-truncated", "is cut off")
        else:
            journal.save(entry)
            if options.tell:
                sys.stdout.write(f"{name.decode()}\n")
                sys.stdout.flush()


def _finish(lock: OutputLock, limit: int | None) -> None:
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if lock.shard is None:
        pack(lock)
    elif not lock.work.missing_parts():
        try:
            pack(lock)
        except (BusyError, NoInputError) as error:
            if error.code not in ("output-busy", "nothing-to-pack"):  # another share packs, or has packed
                raise


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
