"""The npm packages that the images are made of, installed beside this file by `npm ci`."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent
MODULES = FOLDER / "node_modules"


def missing(*names: str, node: bool = True) -> str | None:
    """Return why packages cannot be used, in a line; None where they can.

    Args:
        names: The packages.
        node: Whether node is needed too.
    """
    if node and shutil.which("node") is None:
        return "node is not installed"
    lacking = [name for name in names if not (MODULES / name / "package.json").is_file()]
    return f"npm packages are missing ({', '.join(lacking)}): run `npm ci` in {FOLDER}" if lacking else None


def require(*names: str, node: bool = True) -> None:
    """End the program with a line where packages cannot be used."""
    reason = missing(*names, node=node)
    if reason is not None:
        raise SystemExit(f"bench.domains: {reason}")


@contextlib.contextmanager
def working_folder(path: Path) -> Iterator[Path]:
    """Make a folder beside a file that is to be written, for a while; what a program that was killed left is removed.

    Args:
        path: The file.
    """
    folder = path.with_suffix(".images")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
