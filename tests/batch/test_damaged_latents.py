"""HDF5 files that are cut off, moved or changed by a bit: noticed, without a crash or much memory."""

import subprocess
import sys
from pathlib import Path

import pytest

from invert.hdf5.reading import LatentsError
from tests.batch.batch_case import check
from tests.batch.hostile_case import CHECKOUT


def test_truncated_anywhere(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.h5"
    data = good.read_bytes()
    for length in [0, 4, 8, 9, 47, 95, 96, 97, 800, *range(2000, len(data), len(data) // 25), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(LatentsError):
            check(path)


def test_superblock_elsewhere(good: Path, tmp_path: Path) -> None:
    """HDF5 looks for its own beginning at 512, 1024 ... too: such a file begins with somebody else's bytes."""
    path = tmp_path / "moved.h5"
    path.write_bytes(b"#!/bin/sh\n".ljust(512) + good.read_bytes())
    with pytest.raises(LatentsError, match="is no HDF5 file"):
        check(path)


FLIPPING_CHILD = """
import random, resource, sys
from pathlib import Path
import numpy as np
from invert.hdf5.reading import Latents, LatentsError
from invert.hdf5.verification import verify
from invert.errors import NumericError

resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
good, path = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
with Latents(sys.argv[1]) as latents:
    names, w = latents.names, latents.column("w")
used = [position for position, byte in enumerate(good) if byte]  # most of the others is room for more
for seed in range(int(sys.argv[3]), int(sys.argv[4])):
    source = random.Random(seed)
    data = bytearray(good)
    data[source.choice(used)] ^= 1 << source.randrange(8)
    path.write_bytes(data)
    print(seed, end=" ", flush=True)
    try:
        with Latents(path) as latents:
            verify(latents)
            # What is not noticed must be nothing: bytes that are not used.
            assert latents.names == names
            assert np.array_equal(latents.column("w"), w)
            print("unused", flush=True)
    except (LatentsError, NumericError) as error:
        assert chr(10) not in str(error)
        print("found", flush=True)
import re
# not ru_maxrss: that starts at the peak of the process that forked
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]))
"""


def flip(good: Path, path: Path, first: int, last: int) -> None:
    child = subprocess.run(
        [sys.executable, "-c", FLIPPING_CHILD, good, path, str(first), str(last)],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        timeout=240,
    )
    told = child.stdout.splitlines()
    assert child.returncode == 0, (told[-1:], child.stderr)
    assert len(told) == last - first + 1
    assert sum(line.endswith("found") for line in told) > (last - first) // 3
    assert int(told[-1]) < 400_000, "kB of memory"


def test_flipped_bits(good: Path, tmp_path: Path) -> None:
    flip(good, tmp_path / "flipped.h5", 0, 150)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_many_flipped_bits(good: Path, tmp_path: Path) -> None:
    for first in range(150, 6150, 1000):
        flip(good, tmp_path / "flipped.h5", first, first + 1000)
