"""Take over what an earlier calibration measured, so that more pictures cost only themselves.

A projection depends on the method, the run and the pixels of its picture alone: not on its name, nor on its neighbours.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from generator.networks import Generator
from invert.attribution.calibration import Calibration
from invert.attribution.measuring import MeasurementStore
from invert.batch.pictures import Listed, read_picture
from invert.config import differing_keys
from invert.errors import ImageError, UsageError
from invert.images import ImagePolicy

__all__ = ["check_same", "take_over"]


def check_same(earlier: Calibration, path: Path, method: dict[str, object], run: dict[str, object]) -> None:
    """Refuse a calibration whose numbers would not be those of this method and run.

    Raises:
        UsageError: They differ; the message has the keys.
    """
    differing = differing_keys(dict(earlier.method), method) + differing_keys(dict(earlier.run), run)
    if differing:
        reason = f"was made with other settings ({'; '.join(differing)})"
        raise UsageError(reason, path=path, advice="Use the same, or leave out --from.", code="settings-differ")


def take_over(
    earlier: Calibration, pictures: Iterable[Listed], folder: Path, generator: Generator, policy: ImagePolicy
) -> int:
    """Write the measurements of those pictures that an earlier calibration has; return how many.

    Args:
        earlier: Of the same method and run, see `check_same`.
        pictures: Of a population. folder: Of its measurements.
        generator, policy: As for projecting the pictures.

    Raises:
        OutputError: One cannot be written.
    """
    known = {one.pixel_sha256: one for part in (earlier.own, *earlier.others) for one in part.measurements}
    store = MeasurementStore(None, folder)
    synthesis, taken = generator.config.synthesis, 0
    for picture in pictures:
        target = read_picture(picture, synthesis.img_resolution, synthesis.img_channels, policy)
        if isinstance(target, ImageError) or target.pixel_sha256 not in known or target.upsampled:
            continue
        if store.finished(picture.name, target.file_sha256) is None:
            found = known[target.pixel_sha256]
            store.put(dataclasses.replace(found, name=picture.name, file_sha256=target.file_sha256))
        taken += 1
    return taken
