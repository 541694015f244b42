"""Where the calibration of a network is looked for, and which of several is used.

A calibration decides what is said of an image, so that whoever can put one in such a place decides it: every output
names the file that was used and its hash, and a folder of the cache that others can write to is not read.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from generator.cache import CacheError, cache_folder, why_unsafe
from invert.attribution.calibration_file import SUFFIX, CalibrationFile, read_calibration_of
from invert.errors import display_path

__all__ = ["cached_path", "find_calibrations", "warn_of_several"]

OnMessage = Callable[[str], None]


def find_calibrations(
    network_path: Path, network_sha256: str, given: Iterable[Path] = (), on_warning: OnMessage | None = None
) -> list[CalibrationFile]:
    """Return the calibrations of a network in the order of their precedence, each content once.

    Args:
        network_path: The network's file.
        network_sha256: Its hash.
        given: Files that the user named; those of other networks are passed over. Where there are any, no other place
            is looked at: beside the network, in the user's cache, with the project.
        on_warning: Called with a line where a place is not looked at.

    Raises:
        CalibrationError: A file that was looked at is damaged.
    """
    paths = list(given) or [path for path in _places(network_path, network_sha256, on_warning) if path.is_file()]
    found: dict[str, CalibrationFile] = {}
    for path in paths:
        one = read_calibration_of(path, network_sha256)
        if one is not None:
            found.setdefault(one.sha256, one)
    return list(found.values())


def warn_of_several(network: str, found: Sequence[CalibrationFile], on_warning: OnMessage) -> None:
    """Say which of several calibrations of one network is used, the first, and which are not.

    One of another preset is no rival: it is there to be asked for.

    Args:
        network: Name of the network.
        found: Calibrations that differ.
        on_warning: Called with a line, where there are several.
    """
    rivals = [one for one in found if one.calibration.method["preset"] == found[0].calibration.method["preset"]]
    if len(rivals) > 1:
        used, *others = (f"{_shown(one.path)} (sha256 {one.sha256[:16]})" for one in rivals)
        on_warning(f"there are different calibrations of {network}: {used} is used, not {', '.join(others)}")


def _shown(path: Path | None) -> str:
    return "one from memory" if path is None else display_path(path)


def _places(network_path: Path, network_sha256: str, on_warning: OnMessage | None) -> Iterator[Path]:
    """Yield where the calibration of a network is looked for, in this order."""
    yield network_path.with_suffix(SUFFIX)
    yield network_path.with_name(network_path.name + SUFFIX)
    cached = cached_path(network_sha256)
    if cached is not None and os.path.lexists(cached):
        reason = _why_unsafe(cached)
        if not reason:
            yield cached
        elif on_warning is not None:
            on_warning(f"the calibration '{display_path(cached)}' is not read: {reason}")
    package = Path(__file__).resolve().parent.parent
    for data in (package / "data" / "networks", package.parent / "data" / "networks"):
        if data.is_dir():
            yield from sorted(path for path in data.iterdir() if path.name.endswith(SUFFIX))


def _why_unsafe(cached: Path) -> str:
    try:
        return next(filter(None, map(why_unsafe, (cached.parent.parent, cached.parent, cached))), "")
    except OSError as error:
        return error.strerror or str(error)


def cached_path(network_sha256: str) -> Path | None:
    """Return where the user's cache may have the calibration of a network; None where there is no cache."""
    try:
        return cache_folder() / "calibrations" / f"{os.path.basename(network_sha256)}{SUFFIX}"
    except CacheError:
        return None
