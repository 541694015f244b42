"""Judge what is projected already: the rows of HDF5 files that `invert project` wrote.

A row holds all that an answer is read off, if the file keeps the images. What a network says of it is what it would say
if the image was projected again, to the bit.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from invert.attribution.answers import Measured
from invert.attribution.candidate import LoadedCandidate
from invert.errors import ImageError, UsageError, display_path
from invert.hdf5.reading import Latents, open_latents
from invert.images.formats import format_named
from invert.images.jpeg_traces import jpeg_quality
from invert.images.target import Target, safe_name
from invert.projection.config import METHOD_SETTINGS
from invert.projection.noise import start_noise
from invert.projection.projector import Explanation, Projection
from invert.projection.records import config_of, differing_keys
from invert.store.result import Result

__all__ = ["FinishedFiles", "open_finished"]


@dataclass(frozen=True, eq=False)
class FinishedFiles:
    """Files of finished projections, into one or several networks. Made by `open_finished`.

    Attributes:
        files: The files, with their paths.
    """

    files: tuple[tuple[Path, Latents], ...]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the method that all files have, and the batch of the first."""
        found = [config_of(latents.manifest.method) for _, latents in self.files]
        settings = {name: getattr(found[0], name) for name in METHOD_SETTINGS}
        shared = {name: value for name, value in settings.items() if all(getattr(one, name) == value for one in found)}
        return {**shared, "batch": self.files[0][1].manifest.run.get("batch")}

    @property
    def count(self) -> int:
        """How many images there are."""
        return sum(len(latents) + latents.failure_count for latents in self._of(self._first))

    @property
    def _first(self) -> str:
        return _network(self.files[0][1])

    def _of(self, sha256: str) -> list[Latents]:
        return [latents for _, latents in self.files if _network(latents) == sha256]

    def check(self, candidates: Sequence[LoadedCandidate]) -> None:
        """Refuse files that are not of the method by which the candidates judge, or of none of them.

        Raises:
            UsageError: They differ; the message has the keys.
        """
        asked = {candidate.sha256: candidate for candidate in candidates}
        for path, latents in self.files:
            candidate = asked.get(_network(latents))
            if candidate is None:
                names = ", ".join(one.name for one in candidates)
                reason = f"has projections into another network than {names}"
                raise UsageError(reason, path=path, advice="Name its network with --network.", code="other-network")
            differing = differing_keys(dict(latents.manifest.method), dict(candidate.session.method))
            if differing:
                reason = f"was made with other settings ({'; '.join(differing)})"
                raise UsageError(reason, path=path, advice="Project with those of the verdict.", code="settings-differ")
        for candidate in candidates:
            if not self._of(candidate.sha256):
                reason = f"no file has projections into {candidate.name}"
                raise UsageError(reason, advice=f"Give one for each network: '{display_path(candidate.path)}'.")

    def measure(self, candidates: Sequence[LoadedCandidate]) -> Iterator[tuple[Path, list[Measured] | ImageError]]:
        """Yield each image of the first file's network, and what every network says of it, or why none does.

        Raises:
            LatentsError: A file is damaged.
        """
        rows = {
            candidate.sha256: {
                name: (latents, row) for latents in self._of(candidate.sha256) for row, name in enumerate(latents.names)
            }
            for candidate in candidates
        }
        for name in rows[self._first]:
            path = Path(os.fsdecode(name))
            found: list[Measured] = []
            for candidate in candidates:
                place = rows[candidate.sha256].get(name)
                result = None if place is None else place[0][place[1]]
                if result is None or (found and result.file_sha256 != found[0].target.file_sha256):
                    break
                found.append(Measured.of(_projection(result, candidate), candidate.meter))
            if len(found) == len(candidates):
                yield path, found
            else:
                missing = candidates[len(found)].name
                yield path, _error(path, "not-projected", f"no file has its projection into {missing}")
        for latents in self._of(self._first):
            for _, failure in latents.failures:
                path = Path(os.fsdecode(failure.name))
                yield path, _error(path, failure.code, failure.reason)


def _error(path: Path, code: str, reason: str) -> ImageError:
    error = ImageError(reason, path=path)
    error.code = code
    return error


def _network(latents: Latents) -> str:
    return str(latents.manifest.method["network_sha256"])


@contextlib.contextmanager
def open_finished(paths: Sequence[Path]) -> Iterator[FinishedFiles]:
    """Open files of finished projections for the length of the block.

    Args:
        paths: The files.

    Raises:
        NoInputError: One cannot be read, or is something else.
        UsageError: One keeps no images.
    """
    with contextlib.ExitStack() as held:
        files = []
        for path in paths:
            latents = held.enter_context(open_latents(path))
            if not latents.manifest.images:
                advice = "Project with --save-images, or name the images themselves."
                raise UsageError("keeps no images, which a verdict needs", path=path, advice=advice, code="no-images")
            files.append((path, latents))
        yield FinishedFiles(tuple(files))


def _projection(result: Result, candidate: LoadedCandidate) -> Projection:
    """Return a row as the projector gave it."""
    if result.target is None or result.reconstruction is None:
        raise ValueError("a result without images")
    path = Path(os.fsdecode(result.name))
    target = Target(
        array=result.target,
        name=safe_name(path),
        path=path,
        file_sha256=result.file_sha256,
        pixel_sha256=result.pixel_sha256,
        original_size=result.original_size,
        upsampled=min(result.original_size) < candidate.session.resolution,
        warnings=result.warnings,
        notes=(),
        # A file of latents has no word on this; a wrong ending is among the warnings.
        format=format_named(path.suffix) or "",
        jpeg_quality=_traces(result),
    )
    return Projection(
        target,
        w=result.w,
        noise=_noise(result.noise, candidate),
        distance=result.distance,
        layer_distances=result.layer_distances,
        curve=result.curve,
        image=result.reconstruction,
        status=result.status,
        restart=result.restart,
        explanation=_explanation(result),
    )


def _explanation(result: Result) -> Explanation | None:
    """Return what preset exact found; None of another preset."""
    if result.q is None:
        return None
    return Explanation(**{field.name: getattr(result, field.name) for field in dataclasses.fields(Explanation)})


def _traces(result: Result) -> int | None:
    """Return the quality of an earlier JPEG compression, as far as the kept pixels are those of the file."""
    if result.target is None or result.original_size != result.target.shape[1::-1]:
        return None
    image = Image.fromarray(result.target.squeeze())  # [H, W] where there is one channel
    return jpeg_quality(np.asarray(image if image.mode == "L" else image.convert("RGB").convert("L")))


def _noise(kept: Mapping[str, Any], candidate: LoadedCandidate) -> dict[str, Any]:
    """Return the noise maps that were kept, or those that every projection of the method has; otherwise none."""
    mode = candidate.config.noise
    if kept or mode == "optimise":
        return {layer: np.asarray(values, np.float32) for layer, values in kept.items()}
    device = torch.device(candidate.config.device)
    maps = start_noise(candidate.session.network.generator.to(device), mode, [torch.Generator()], device)
    return {layer: values[0, 0].cpu().numpy() for layer, values in maps.by_layer().items()}
