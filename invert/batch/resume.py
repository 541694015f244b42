"""A file that is finished, when the same command comes again: what has changed since, and how it is resumed."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from invert.batch.images import Listed, file_sha256, read_image
from invert.errors import ImageError, NoInputError
from invert.hdf5.reading import open_latents
from invert.images.decoding import ImagePolicy
from invert.store.journal import Journal, output_usage
from invert.store.manifest import Manifest

__all__ = ["FinishedOutput", "changed_images", "finished_output", "restore"]


@dataclass(frozen=True)
class FinishedOutput:
    """An output that an earlier run finished.

    Attributes:
        manifest: What all its images have in common.
        images: How many have a result.
        failures: How many have none.
    """

    manifest: Manifest
    images: int
    failures: int


def finished_output(out: Path) -> FinishedOutput | None:
    """Return what an output file holds, or None when there is none.

    Args:
        out: The file.

    Raises:
        UsageError: It is damaged, or was not written by this program.
    """
    if not os.path.lexists(out):
        return None
    try:
        with open_latents(out) as latents:
            return FinishedOutput(latents.manifest, len(latents), latents.failure_count)
    except NoInputError as error:
        raise output_usage(f"exists already, but {error.reason}", out, "output-foreign") from error


def changed_images(out: Path, images: Iterable[Listed], policy: ImagePolicy) -> list[Path]:
    """Return the images that a finished file does not have, has of another content, or failed and can now be read.

    A file that is not there any more, or cannot be read this time, counts as unchanged: its result stays.

    Args:
        out: The finished file.
        images: The images that it is asked for now.
        policy: What is accepted as an image.

    Raises:
        LatentsError: The file is damaged.
    """
    with open_latents(out) as latents:
        side, channels = latents.manifest.side, latents.manifest.channels
        known = dict(zip(latents.names, latents.column("sha256").tolist(), strict=True))
        failed = {failure.name for _, failure in latents.failures}
    found = []
    for image in images:
        if image.name in known:
            if file_sha256(image) not in (None, known[image.name].decode("ascii", "replace")):
                found.append(image.path)
        elif image.name not in failed or not isinstance(read_image(image, side, channels, policy), ImageError):
            found.append(image.path)
    return found


def restore(journal: Journal, out: Path) -> None:
    """Put the images of a finished file back into a journal of the same settings.

    Args:
        journal: Where they go.
        out: The finished file.

    Raises:
        LatentsError: The file is damaged.
        OutputError: The journal cannot be written.
    """
    with open_latents(out) as latents:
        for result in latents:
            if not journal.has_entry(result.name):
                journal.save(result)
