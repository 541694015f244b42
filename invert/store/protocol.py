"""What the engine asks of a place where results go, whatever it is."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from invert.projection.projector import Projection

__all__ = ["Finished", "ImageStore", "Nowhere"]


class Finished(Protocol):
    """What is known of an image that is done."""

    @property
    def distance(self) -> float:
        """LPIPS after the last step."""

    @property
    def status(self) -> str:
        """ "ok" or "diverged"; see `invert.store.result.Result`."""


class ImageStore(Protocol):
    """Where results go: a journal for HDF5, a folder of .npz and .png, a folder of measurements.

    An image's name is its path below the folder that the user named, or the path as named: bytes, as the file system
    has them, with "/" between the components. All methods may be called by several threads at once.
    """

    def finished(self, name: bytes, file_sha256: str) -> Finished | None:
        """Return what is known of an image that is done, of this very file; None when it is to be done."""

    def has_entry(self, name: bytes) -> bool:
        """Tell whether an image has a result, of whatever file."""

    def fail(self, name: bytes, code: str, reason: str) -> None:
        """Keep that an image has no result.

        Raises:
            OutputError: It cannot be written.
        """

    def keep(self, name: bytes, projection: "Projection") -> Finished | None:
        """Keep the result of an image, and return what is known of it now where the store knows anything.

        Raises:
            OutputError: It cannot be written.
        """


class Nowhere:
    """A store that has nothing and keeps nothing: whoever hears the engine's events has the results."""

    def finished(self, name: bytes, file_sha256: str) -> None:
        """Return None: nothing is done."""

    def has_entry(self, name: bytes) -> bool:
        """Return False: there are no results."""
        return False

    def fail(self, name: bytes, code: str, reason: str) -> None:
        """Keep nothing."""

    def keep(self, name: bytes, projection: "Projection") -> None:
        """Keep nothing."""
