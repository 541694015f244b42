"""Where good files are, what reading a changed one may raise, and the folder that it is read in."""

import functools
import os
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
FIXTURES = ROOT / "tests" / "net" / "fixtures" / "version-0.1.0"


def golden(*names: str) -> Callable[[], list[bytes]]:
    return lambda: [(GOLDEN / name).read_bytes() for name in names]


def fixture(*names: str) -> Callable[[], list[bytes]]:
    return lambda: [(FIXTURES / name).read_bytes() for name in names]


@functools.cache
def allowed() -> tuple[type[Exception], ...]:
    """Return what reading may raise: the error trees, and nothing else."""
    from generator.errors import GeneratorError
    from invert.errors import InvertError

    return GeneratorError, InvertError


def clean(folder: Path) -> None:
    """Remove everything in a folder."""
    for path, folders, files in os.walk(folder, topdown=False):
        for file in files:
            os.unlink(os.path.join(path, file))
        for inner in folders:
            os.rmdir(os.path.join(path, inner))
