"""The projection of images, as a function that yields results."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from invert.api.arguments import Network, OnFailure, OnMessage, check_failure, fail, make_config, silent
from invert.batch.given import find_given
from invert.batch.images import Found
from invert.batch.job import Job, is_file
from invert.batch.outputs import RunOutput
from invert.batch.run import Run, open_run
from invert.batch.work import Done, Failed, Stepped
from invert.errors import UsageError
from invert.images.decoding import ImagePolicy
from invert.images.target import Target
from invert.store.result import Result

if TYPE_CHECKING:
    from generator.networks import Generator
    from invert.projection.projector import StepRecord

__all__ = ["Projected", "project"]


_OF_JOB = ("policy", "overwrite", "follow", "video", "snapshots", "paste")


@dataclass(frozen=True, eq=False)
class Projected:
    """What a projection found for one image.

    Attributes:
        result: All that can be kept of it.
        target: The image as the network sees it; `target.array` is uint8 `[H, W, C]`. None where nothing was read,
            for an output that was complete before.
        is_new: Whether it was made now, and not by an earlier run.
        tuned: With `tune`, the generator that was fitted to the image, where `is_new`; a folder has its file.
    """

    result: Result = field(repr=False)
    target: Target | None = field(repr=False)
    is_new: bool
    tuned: "Generator | None" = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Path below the folder that was named, or as named; a number for an image from memory."""
        return os.fsdecode(self.result.name)

    @property
    def distance(self) -> float:
        """LPIPS between the image and g(w, noise)."""
        return self.result.distance

    @property
    def w(self) -> NDArray[np.float32]:
        """float32 `[1, w_dim]`; `[styles, w_dim]` with a w per layer."""
        return self.result.w

    @property
    def noise(self) -> Mapping[str, NDArray[Any]]:
        """Map `[r, r]` of each layer; empty for a result of before whose output keeps none."""
        return self.result.noise

    @property
    def image(self) -> NDArray[np.uint8] | None:
        """g(w, noise), uint8 `[H, W, C]`; None for a result of before whose output does not keep it."""
        return self.result.reconstruction

    @property
    def layer_distances(self) -> NDArray[np.float32]:
        """The distance's five shares `[5]`."""
        return self.result.layer_distances

    @property
    def curve(self) -> NDArray[np.float32]:
        """LPIPS in each step `[steps]`, with latent noise."""
        return self.result.curve

    @property
    def status(self) -> str:
        """ok, or diverged when a step was not finite and this is the best state before it."""
        return self.result.status

    @property
    def restart(self) -> int:
        """Which of the restarts this is."""
        return self.result.restart

    @property
    def transform(self) -> tuple[float, float, float] | None:
        """Shift to the right and down in shares of the side, and rotation counter-clockwise in degrees.

        None where they were not optimised.
        """
        return self.result.transform

    @property
    def quad(self) -> tuple[float, ...] | None:
        """Corners of the square that was cut out of the photo, x and y each in its pixels; None where none was.

        Top left, bottom left, bottom right, top right; see `invert.paste`.
        """
        return self.result.quad


def project(
    images: Any,
    network: Network,
    *,
    out: str | os.PathLike[str] | None = None,
    on_step: "Callable[[StepRecord], None] | None" = None,
    on_message: OnMessage | None = None,
    on_failure: OnFailure = "raise",
    **settings: Any,
) -> Iterator[Projected]:
    """Find the w and the noise maps from which a network synthesises images.

    Args:
        images: A path, a folder, a PIL image, an array uint8 `[H, W]`, `[H, W, C]` or `[N, H, W, C]`, a tensor
            `[C, H, W]` or `[N, C, H, W]` (uint8 from 0 to 255 or floating point in -1..1); or an iterable of these,
            such as a DataLoader, whose labels are passed over.
        network: From `load`, or its file.
        out: A folder or an HDF5 file (by its suffix .h5) where results are stored too. What is there already is not
            done again; a run that was stopped is resumed.
        on_step: Called after each step of a group of images.
        on_message: Called with a line on what takes long or should be known.
        on_failure: What to do with an image that cannot be used: "raise" its error, "skip" it, or a function that is
            called with what is known of it.
        settings: Fields of `ProjectConfig`, such as steps, preset, lpips, noise, seed, restarts, batch, threads or
            device; `policy`, an `ImagePolicy`, whose `align="face"` cuts faces out of photos; `overwrite`, to discard
            earlier results; `follow`, for links that lead out of folders; for a folder `video`, the film of the
            optimisation (see `invert project --video`), `snapshots`, how many images on the way to each result are
            kept, and `paste`, to put reconstructions back into photos that were aligned; and for an HDF5 file
            `save_noise` ("none", "float32" or "float16") and `save_images`.

    Returns:
        An iterator over the results, in the order in which they come.

    Raises:
        ImageError: An image cannot be used, with `on_failure="raise"`.
        InvertError: The network, the settings or the output cannot be used, or there are no images.
    """
    job = _job(network, None if out is None else Path(out), settings)
    check_failure(on_failure)
    return _project(images, job, on_step, on_message or silent, on_failure)


def _job(network: Network, out: Path | None, settings: dict[str, Any]) -> Job:
    more: dict[str, Any] = {name: settings.pop(name) for name in _OF_JOB if name in settings}
    more.setdefault("policy", ImagePolicy(fit="auto"))
    if more.get("video") is not None:
        more["video"] = Path(more["video"])
    for name, of_job in (("save_noise", "noise"), ("save_images", "images")):
        if name in settings:
            if out is None or not is_file(out):
                raise UsageError(f"{name} goes with one HDF5 file for all images", advice="Give out='FILE.h5'.")
            more[of_job] = settings.pop(name)
    return Job(
        Path(network) if isinstance(network, str | os.PathLike) else network,
        make_config("paper", settings),
        out=out,
        **more,
    )


def _project(
    images: Any,
    job: Job,
    on_step: "Callable[[StepRecord], None] | None",
    on_message: OnMessage,
    on_failure: OnFailure,
) -> Iterator[Projected]:
    def find(output: RunOutput) -> Found:
        return find_given(images, job.follow, output.written, on_message, on_message)

    with open_run(job, find, on_note=on_message, on_warning=on_message) as run:
        if run.finished_before:
            yield from _results_before(run)
            return
        with contextlib.closing(run.events()) as events:  # type: ignore[type-var]
            for event in events:
                if isinstance(event, Stepped) and on_step is not None:
                    on_step(event.record)
                elif isinstance(event, Failed):
                    fail(event, on_failure, on_message)
                elif isinstance(event, Done):
                    yield _result(run, event)
        run.finish()


def _result(run: Run, event: Done) -> Projected:
    made = event.projection
    result = run.output.stored(event) if made is None else Result.of(event.name, made)
    return Projected(result, event.target, event.is_new, None if made is None else made.tuned)


def _results_before(run: Run) -> Iterator[Projected]:
    """Yield what an earlier run has of these images, when it did all that can be done."""
    for name in run.output.names_before(run.found):
        yield _result(run, Done(name, "", 0.0, "ok", False, ()))
