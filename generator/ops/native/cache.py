"""Where built libraries are kept: a folder nobody else can write to, with one lock per library.

A library appears whole or not at all, under the hash of everything it was made from. A killed build leaves
only a temporary folder, which the next one removes; its lock dies with the process.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from generator.cache import CacheError, cache_folder, why_unsafe
from generator.errors import GeneratorError
from generator.system import BINARY, CLOSE_ON_EXEC, NO_LINKS, lock_file

__all__ = ["NOT_BUILT", "Entry", "NativeError", "open_cache"]

NOT_BUILT = "not built yet; the first use builds them, or 'invert doctor --build'"
_CHECKSUM_FILE = "sha256"
_POLL = 0.05  # seconds
_MAX_NOTE = 2000


class NativeError(GeneratorError):
    """The native kernels cannot be built or loaded.

    Args:
        code: Stable name of the case, for programs.
        reason: Why, in one line without a final period.
        told: Whether an earlier run has said so already.
    """

    def __init__(self, code: str, reason: str, *, told: bool = False) -> None:
        self.code = code
        self.reason = " ".join(reason.splitlines())
        super().__init__(self.reason)
        self.told = told


def open_cache(create: bool = True) -> Path:
    """Return the cache folder after making sure that nobody else can put a library there.

    Args:
        create: Whether the folder is made where it is missing.

    Returns:
        The folder.

    Raises:
        NativeError: It is missing, cannot be made, belongs to somebody else, or others can write to it.
    """
    try:
        folder = cache_folder()
    except CacheError as error:
        raise NativeError("no-cache", str(error)) from error
    try:
        if create:
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
        is_folder, unsafe = folder.is_dir(), why_unsafe(folder)
    except FileNotFoundError as error:
        raise NativeError("not-built", NOT_BUILT) from error
    except OSError as error:
        raise _unusable(folder, error) from error
    if not is_folder:
        raise NativeError("no-cache", f"the cache '{folder}' is not a folder; set INVERT_CACHE to another one")
    # Whoever can write there can have this process run any code.
    if unsafe:
        raise NativeError("unsafe-cache", f"the cache cannot be used: {unsafe}")
    return folder


def _unusable(path: Path, error: OSError) -> NativeError:
    reason = error.strerror or str(error)
    return NativeError("no-cache", f"the cache folder '{path}' cannot be used ({reason}); set INVERT_CACHE to another")


class Entry:
    """The place of one library in the cache.

    Args:
        folder: What `open_cache` returned.
        name: Name of the library, its hash included.
        file_name: Name of the library's file.
    """

    def __init__(self, folder: Path, name: str, file_name: str) -> None:
        self.place = folder / name
        self.library = self.place / file_name
        self.lock_file = folder / f"{name}.lock"
        self.log = folder / f"{name}.log"
        self._failure = folder / f"{name}.failed"

    def is_whole(self) -> bool:
        """Tell whether the library is there with the bytes it was built with."""
        try:
            return (self.place / _CHECKSUM_FILE).read_text("ascii") == _checksum(self.library)
        except (OSError, UnicodeError):
            return False

    @contextlib.contextmanager
    def locked(self, timeout: float, on_wait: Callable[[], None]) -> Iterator[None]:
        """Keep this library's lock: one process at a time builds it.

        The file means nothing, only the kernel's lock on it, which no dead process holds.

        Args:
            timeout: How long to wait for another process, in seconds.
            on_wait: What is called, once, where there is something to wait for.

        Raises:
            NativeError: Another process holds the lock for longer, or there is no locking here.
        """
        flags = os.O_RDWR | os.O_CREAT | BINARY | CLOSE_ON_EXEC | NO_LINKS
        try:
            descriptor = os.open(self.lock_file, flags, 0o600)
        except OSError as error:
            raise _unusable(self.place.parent, error) from error
        try:
            self._acquire(descriptor, timeout, on_wait)
            yield
        finally:
            os.close(descriptor)

    def _acquire(self, descriptor: int, timeout: float, on_wait: Callable[[], None]) -> None:
        deadline = time.monotonic() + timeout
        waiting = False
        while True:
            try:
                lock_file(descriptor)
                return
            except BlockingIOError:
                pass
            except OSError as error:
                raise _unusable(self.place.parent, error) from error
            if time.monotonic() >= deadline:
                reason = f"another process has held the lock file '{self.lock_file}' for more than {timeout:g} s"
                raise NativeError("locked", reason)
            if not waiting:
                waiting = True
                on_wait()
            time.sleep(_POLL)

    @contextlib.contextmanager
    def building(self) -> Iterator[Path]:
        """Give a temporary folder to build in; what stands there becomes the entry when the block ends well.

        Call it with the lock held: what killed builds left behind is removed.

        Raises:
            NativeError: The cache cannot be written.
        """
        pattern = f"{self.place.name}.tmp-"
        for left in self.place.parent.glob(f"{pattern}*"):
            shutil.rmtree(left, ignore_errors=True)
        try:
            temporary = Path(tempfile.mkdtemp(prefix=pattern, dir=self.place.parent))
        except OSError as error:
            raise _unusable(self.place.parent, error) from error
        try:
            yield temporary
            self._publish(temporary)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _publish(self, temporary: Path) -> None:
        try:
            (temporary / _CHECKSUM_FILE).write_text(_checksum(temporary / self.library.name), "ascii")
            if self.place.exists():  # damaged, or it would not have been built again
                self.place.rename(temporary / "damaged")
            temporary.rename(self.place)
        except OSError as error:
            raise _unusable(self.place.parent, error) from error
        shutil.rmtree(self.place / "damaged", ignore_errors=True)

    def failure(self) -> NativeError | None:
        """Return why the last build failed, when it did."""
        try:
            code, reason = self._failure.read_text("utf-8", "surrogateescape")[:_MAX_NOTE].split("\n")
        except (OSError, ValueError):
            return None
        return NativeError(code, reason, told=True)

    def remember(self, failure: NativeError) -> None:
        """Note why this library cannot be had, so that it is neither tried nor told again."""
        # On a full or read-only disk nothing can be remembered.
        with contextlib.suppress(OSError):
            self._failure.write_text(f"{failure.code}\n{failure.reason}", "utf-8", "surrogateescape")

    def forget(self) -> None:
        """Take the note of a failure away."""
        with contextlib.suppress(OSError):
            self._failure.unlink(missing_ok=True)

    def discard(self) -> None:
        """Take the library away, so that the next build makes it anew."""
        shutil.rmtree(self.place, ignore_errors=True)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
