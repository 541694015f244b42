"""Where the images of a command go: into a folder, or into one file that was named."""

from collections.abc import Sequence
from pathlib import Path

from invert.errors import UsageError

__all__ = ["image_paths"]


def image_paths(out: Path, names: Sequence[str], overwrite: bool) -> list[Path]:
    """Return the file of each image, after a look at what is there.

    Args:
        out: A folder; or a .png, for one image.
        names: Names that the images have in a folder.
        overwrite: Whether files may be there already.

    Raises:
        UsageError: One exists and may not be written over, two have one name, or there are several for one file.
    """
    paths = [out / name for name in names]
    if out.suffix.lower() == ".png" and not out.is_dir():
        if len(names) != 1:
            raise UsageError(f"is one image, and {len(names)} are to be written", path=out, advice="Name a folder.")
        paths = [out]
    elif out.exists() and not out.is_dir():
        raise UsageError("is not a folder", path=out, advice="Name a folder, or FILE.png for one image.")
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise UsageError("two images would have this name", path=twice, advice="Generate them into two folders.")
    existing = next((path for path in paths if path.exists()), None)
    if existing is not None and not overwrite:
        raise UsageError("exists already", path=existing, advice="Add --overwrite, or choose another --out.")
    return paths
