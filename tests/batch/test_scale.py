"""Twenty thousand images: time grows with their number, memory hardly at all."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from invert.hdf5.pack import pack
from invert.store.journal import Journal, open_journal
from invert.store.locks import lock_output
from tests.batch.batch_case import check, make_entry, make_manifest

MANIFEST = make_manifest(noise="none", images=False)
FEW, MANY = 5_000, 20_000

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


def save(journal: Journal, numbers: range) -> None:
    for number in numbers:
        journal.save(make_entry(MANIFEST, b"%03d/%06d.png" % (number // 100, number), layers={}))


def look(journal: Journal, count: int) -> float:
    """Return the seconds that a run takes which finds all images finished."""
    start = time.perf_counter()
    for number in range(count):
        name = b"%03d/%06d.png" % (number // 100, number)
        assert journal.finished(name, hashlib.sha256(name).hexdigest())
    assert journal.counts().finished == count
    return time.perf_counter() - start


def pack_alone(out: Path) -> tuple[float, int]:
    """Return the seconds, and the kB at most, of the process that packs."""
    start = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "invert.hdf5.pack", out], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.stdin is not None
    child.stdin.close()
    assert child.returncode == 0
    return time.perf_counter() - start, usage.ru_maxrss


def test_time_is_linear_and_memory_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # 40 000 syncs are the disk's time, not this program's
    out = tmp_path / "latents.h5"
    looking, packing, memory = [], [], []
    with open_journal(out, MANIFEST) as journal:
        for first, last in ((0, FEW), (FEW, MANY)):
            save(journal, range(first, last))
            looking.append(look(journal, last))
            seconds, kilobytes = pack_alone(out)
            packing.append(seconds)
            memory.append(kilobytes)
        journal.complete(MANY)
    factor = MANY / FEW
    assert looking[1] < 1.5 * factor * looking[0]
    assert packing[1] < 1.5 * factor * packing[0]
    assert memory[1] - memory[0] < 2 * (MANY - FEW), "more than 2 kB for each image"
    with lock_output(out) as lock:
        assert pack(lock).rows == MANY
    assert check(out) == MANY
