"""What a run is to do: a network, settings, and where the results go."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from invert.errors import UsageError
from invert.images.decoding import ImagePolicy
from invert.projection.config import ProjectConfig
from invert.store.locks import Shard

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork

__all__ = ["MAX_SNAPSHOTS", "Job", "is_file"]

MAX_SNAPSHOTS = 50
"""Most images on the way to one result."""

_SUFFIXES = (".h5", ".hdf5")


@dataclass(frozen=True)
class Job:
    """What is to be done, and where its results go.

    Attributes:
        network: The network, or its file.
        config: Settings, as given.
        policy: What is accepted as an image.
        out: A folder, or an HDF5 file by its suffix; None keeps nothing.
        noise: How an HDF5 file keeps noise maps: "none", "float32" or "float16".
        images: Whether an HDF5 file keeps targets and reconstructions.
        workers: Processes; several only for an HDF5 file.
        shard: Share I of N of the images, (I, N), of an HDF5 file.
        overwrite: Whether earlier results are discarded.
        follow: Whether links may lead out of the folders that are searched.
        video: The film of the optimisation of one image; those of several have the images' names at the end of theirs.
        snapshots: Number of images on the way to each result, which are kept beside it as one; 0 for none.
        paste: Whether each photo that was aligned is written beside its result, with the reconstruction in it.

    Raises:
        UsageError: Networks are to be tuned, or searches or photos to be shown, and the output is no folder; or photos
            are to be pasted into that were not aligned.
    """

    network: "Path | LoadedNetwork"
    config: ProjectConfig
    policy: ImagePolicy = field(default_factory=ImagePolicy)
    out: Path | None = None
    noise: str = "none"
    images: bool = False
    workers: int = 1
    shard: Shard | None = None
    overwrite: bool = False
    follow: bool = False
    video: Path | None = None
    snapshots: int = 0
    paste: bool = False

    def __post_init__(self) -> None:
        if self.paste and self.policy.align == "none":
            reason = "--paste puts the face of a photo back, and none is cut out"
            raise UsageError(reason, advice="Add --align face.")
        if self.paste and (self.out is None or is_file(self.out)):
            reason = "--paste writes the photo beside each result, and goes with a folder of results"
            advice = "Name a folder with --out, or use 'invert edit FILE.h5:ROW --paste PHOTO' afterwards."
            raise UsageError(reason, advice=advice)
        shown = [name for name in ("video", "snapshots") if getattr(self, name)]
        if shown and (self.out is None or is_file(self.out)):
            reason = f"--{shown[0]} shows how each image is searched, and goes with a folder of results"
            raise UsageError(reason, advice="Name a folder with --out.")
        if self.video is not None and self.video.suffix.lower() != ".mp4":
            raise UsageError("does not end in .mp4", path=self.video, advice="Name a .mp4 file.")
        if self.snapshots and not 2 <= self.snapshots <= MAX_SNAPSHOTS:
            raise UsageError(f"--snapshots {self.snapshots} is not in 2 to {MAX_SNAPSHOTS}")
        if self.config.tune and self.out is not None and is_file(self.out):
            reason = "--tune writes a network for each image, for which one HDF5 file is no place"
            raise UsageError(reason, advice="Name a folder with --out.")


def is_file(out: Path) -> bool:
    """Tell whether an output is one HDF5 file rather than a folder."""
    return out.suffix.lower() in _SUFFIXES
