"""The work folder beside an output: its files, and how it goes away.

    latents.h5.work/
        manifest.json            what all pictures have in common
        entries/<key>.entry      a finished picture; key is the sha256 of its name
        failures/<key>.json      a picture without a result
        parts/<I>-of-<N>.json    this shard has been through its pictures; 1-of-1 is a run without shards
        locks/                   run.lock, shard-<I>-of-<N>.lock, manifest.lock

Before anything is removed the manifest becomes packed.json: what is left then is remains, whatever it is.
"""

import contextlib
import os
import re
from pathlib import Path

from invert.batch.manifest import Manifest, ManifestVersionError
from invert.durable import TEMPORARY_PREFIX, destination, rename
from invert.errors import OutputError, UsageError

__all__ = ["MAX_SHARDS", "Shard", "WorkFolder", "read_manifest"]

Shard = tuple[int, int]

SUFFIX = ".work"
MAX_SHARDS = 100_000

_FILES = {
    "entries": re.compile(r"[0-9a-f]{64}\.entry", re.ASCII),
    "failures": re.compile(r"[0-9a-f]{64}\.json", re.ASCII),
    "parts": re.compile(r"[0-9]{1,6}-of-[0-9]{1,6}\.json", re.ASCII),
    "locks": re.compile(r"(run|manifest|shard-[0-9]{1,6}-of-[0-9]{1,6})\.lock", re.ASCII),
}


class WorkFolder:
    """Where things are in a work folder.

    Args:
        out: The output, as the user names it.

    Attributes:
        target: The file that `out` leads to; the work folder is beside it, so that every name leads to one folder.

    Raises:
        OutputError: The output is a folder, a device or the like.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.target = destination(out)
        self.path = self.target.with_name(self.target.name + SUFFIX)
        self.manifest = self.path / "manifest.json"
        self.packed = self.path / "packed.json"
        self.packing = self.path / f"{TEMPORARY_PREFIX}packing.tmp"
        self.locks = self.path / "locks"

    def entry(self, key: str) -> Path:
        return self.path / "entries" / f"{key}.entry"

    def failure(self, key: str) -> Path:
        return self.path / "failures" / f"{key}.json"

    def part(self, shard: Shard) -> Path:
        return self.path / "parts" / f"{shard[0]}-of-{shard[1]}.json"

    def keys(self, folder: str) -> set[str]:
        """Return the names, without suffix, of this program's files in "entries", "failures" or "parts".

        Raises:
            OutputError: The folder cannot be read.
        """
        try:
            with os.scandir(self.path / folder) as entries:
                return {item.name.partition(".")[0] for item in entries if _FILES[folder].fullmatch(item.name)}
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise OutputError(f"cannot be read, {error.strerror or error}", path=self.path / folder) from error

    def parts(self) -> set[Shard]:
        """Return the shards that have been through their pictures."""
        pairs = (name.split("-of-") for name in self.keys("parts"))
        return {(int(first), int(second)) for first, second in pairs}

    def missing_parts(self) -> set[Shard] | None:
        """Return the shards that have not been through their pictures; None when none at all has."""
        done = self.parts()
        missing = [{(i, n) for i in range(1, n + 1)} - done for n in {n for _, n in done if 1 <= n <= MAX_SHARDS}]
        return min(missing, key=len, default=None)

    def clear(self) -> None:
        """Remove pictures, failures and parts, the manifest last; for who holds the folder alone.

        Raises:
            OSError: Something cannot be removed.
        """
        for folder in ("parts", "entries", "failures"):
            self._empty(folder)
        for path in (self.manifest, self.packed, self.packing):
            path.unlink(missing_ok=True)

    def remove(self) -> bool:
        """Remove the folder and what this program put there; for who holds it alone. Tell whether it is gone.

        It may be interrupted anywhere: the next `lock_output` finds it marked and removes the rest.
        """
        with contextlib.suppress(OSError, OutputError):
            if self.manifest.exists():
                rename(self.manifest, self.packed)
            self.clear()
            self._empty("locks")
            self.path.rmdir()
        return not self.path.exists()

    def sweep(self) -> None:
        """Remove what a killed run left half written; for who holds the folder alone."""
        for folder in (self.path, self.path / "entries", self.path / "failures", self.path / "parts"):
            for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
                with contextlib.suppress(OSError):
                    path.unlink()

    def _empty(self, folder: str) -> None:
        path = self.path / folder
        if path.is_dir():
            for name in os.listdir(path):
                if _FILES[folder].fullmatch(name) or name.startswith(TEMPORARY_PREFIX):
                    (path / name).unlink()
            # A file of somebody else's stays, and the folder with it.
            with contextlib.suppress(OSError):
                path.rmdir()


def read_manifest(work: WorkFolder) -> Manifest | None:
    """Return what the pictures of a work folder have in common; None when nothing was begun.

    Raises:
        UsageError: It is damaged or of another version.
    """
    try:
        return Manifest.from_bytes(work.manifest.read_bytes())
    except FileNotFoundError:
        return None
    except ManifestVersionError as error:
        reason = f"is in {error} of its format, which this program does not know"
        raise _work_usage(reason, work.manifest, "work-version") from error
    except OSError as error:
        raise OutputError(f"cannot be read, {error.strerror or error}", path=work.manifest) from error
    except (ValueError, TypeError, KeyError) as error:
        raise _work_usage("is damaged or was not written by this program", work.manifest, "work-damaged") from error


def _work_usage(reason: str, path: Path, code: str) -> UsageError:
    advice = "Choose another --out, or --overwrite to start afresh."
    return UsageError(reason, path=path, advice=advice, code=code)
