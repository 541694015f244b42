"""Files of weights that users bring: known by name, and by the hash of what they hold."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from generator.cache import CacheError, cache_folder, why_unsafe
from invert.durable import ensure_folder
from invert.errors import UnreadableError, UsageError, display_path
from invert.images.opening import read_regular

__all__ = ["INCEPTION", "KnownWeights", "find_weights"]

VARIABLE = "INVERT_WEIGHTS"
_FOLDER = "weights"


@dataclass(frozen=True)
class KnownWeights:
    """Weights that are published under a name.

    Attributes:
        what: What they are.
        names: The names that the file goes by.
        sha256: Hash of the file.
        size: Its bytes.
        url: Where it can be fetched.
        where: Where people get it, in words.
    """

    what: str
    names: tuple[str, ...]
    sha256: str
    size: int
    url: str
    where: str


INCEPTION = KnownWeights(
    "Inception as FID has it (TensorFlow's graph of 2015-12-05)",
    ("weights-inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.pth"),
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    95_628_359,
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    "the releases of torch-fidelity (v0.2.0), or of pytorch-fid (fid_weights)",
)


def find_weights(known: KnownWeights, given: Path | None, *, download: bool) -> bytes:
    """Return the bytes of a file of weights, which are what they are known to be.

    Args:
        known: Which.
        given: The file, or a folder that has it; None: what INVERT_WEIGHTS says.
        download: Whether to fetch it where it is not found.

    Raises:
        UsageError: It is not there, or is another file.
    """
    named = given or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    kept = _kept(known)
    folders = [named] if named is not None else [kept.parent] if kept is not None else []
    places = [one / name for one in folders for name in known.names] if named is None or named.is_dir() else [named]
    for path in places:
        if os.path.lexists(path):
            return _checked(path, known)
    if not download:
        looked = f" in '{display_path(named)}'" if named is not None else ""
        raise UsageError(
            f"the weights of {known.what} are needed and not there{looked}: {known.names[0]}, {known.size:,} bytes, "
            f"sha256 {known.sha256}",
            advice=f"Get the file from {known.where}, and name it (or its folder) with --weights or {VARIABLE}; "
            "--download fetches it; --features vgg needs none.",
            code="weights-missing",
        )
    if kept is None:
        raise UsageError("there is no safe cache folder to keep weights in", advice="Name the file with --weights.")
    return _fetch(known, kept)


def _kept(known: KnownWeights) -> Path | None:
    """Return where fetched weights are kept; None where others could put files there."""
    try:
        folder = cache_folder() / _FOLDER
        safe = not any(why_unsafe(one) for one in (folder.parent, folder) if one.exists())
    except (CacheError, OSError):
        return None
    return folder / known.names[0] if safe else None


def _checked(path: Path, known: KnownWeights) -> bytes:
    # Only these very bytes are handed on: the library that reads them unpickles.
    try:
        data = read_regular(path, known.size)
    except UnreadableError as error:
        raise UsageError(error.reason, path=path, advice=f"It should be {known.what}.", code="weights-other") from error
    found = hashlib.sha256(data).hexdigest()
    if found != known.sha256:
        reason = f"is not {known.what}: its sha256 is {found}, not {known.sha256}"
        raise UsageError(reason, path=path, advice=f"Get it from {known.where}.", code="weights-other")
    return bytes(data)


def _fetch(known: KnownWeights, path: Path) -> bytes:
    from urllib.error import URLError

    from torch.hub import download_url_to_file

    ensure_folder(path.parent)
    try:
        download_url_to_file(known.url, str(path), hash_prefix=known.sha256, progress=False)
    except (URLError, OSError, RuntimeError) as error:
        reason = f"{known.names[0]} cannot be fetched ({error})"
        raise UsageError(reason, advice=f"Get it from {known.where}, and name it with --weights.") from error
    return _checked(path, known)
