"""The program's jobs as functions: no command line, no streams, results as they come.

import invert

network = invert.load("ffhq.pkl")
for result in invert.project("photo.png", network, steps=300):
    result.distance, result.w, result.image
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from invert.batch.given import find_given
from invert.batch.job import Job, is_file
from invert.batch.outputs import Output
from invert.batch.run import Run, open_run
from invert.batch.work import Done, Failed, Stepped
from invert.errors import UsageError
from invert.hdf5.reading import Latents, open_latents
from invert.images.target import Target
from invert.projection.config import PRESETS, ProjectConfig, with_defaults

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork
    from invert.projection.projector import StepRecord

__all__ = ["Failed", "Latents", "Result", "generate", "load", "open_latents", "project"]

Network: TypeAlias = "str | os.PathLike[str] | LoadedNetwork"
OnFailure = Literal["raise", "skip"] | Callable[[Failed], None]


@dataclass(frozen=True, eq=False)
class Result:
    """What a projection found for one image.

    Attributes:
        name: Path below the folder that was named, or as named; a number for an image from memory.
        distance: LPIPS between the image and g(w, noise).
        w: float32 `[1, w_dim]`; `[styles, w_dim]` with a w per layer.
        noise: Map float32 `[r, r]` of each layer; empty for a result of before whose output keeps none.
        image: g(w, noise), uint8 `[H, W, C]`; None for a result of before whose output does not keep it.
        target: The image as the network sees it; `target.array` is uint8 `[H, W, C]`. None where nothing was read,
            for an output that was complete before.
        layer_distances: The distance's five shares `[5]`.
        curve: LPIPS in each step `[steps]`, with latent noise.
        status: "ok", or "diverged" when a step was not finite and this is the best state before it.
        restart: Which of the restarts this is.
        is_new: Whether it was made now, and not by an earlier run.
    """

    name: str
    distance: float
    w: NDArray[np.float32]
    noise: Mapping[str, NDArray[Any]]
    image: NDArray[np.uint8] | None
    target: Target | None
    layer_distances: NDArray[np.float32]
    curve: NDArray[np.float32]
    status: str
    restart: int
    is_new: bool


def load(path: str | os.PathLike[str], *, on_warning: Callable[[str], None] | None = None) -> "LoadedNetwork":
    """Load a network: of this project, of NVIDIA's StyleGAN and StyleGAN2, or of rosinality. Nothing in it is ever run.

    Args:
        path: The file.
        on_warning: Called with a line for each thing that its user should know.

    Returns:
        The network, with its `generator`, `discriminator` and `provenance`.

    Raises:
        NetworkError: It is unsafe, unsupported, damaged, or cannot be read.
    """
    from invert.projection.session import load_network

    return load_network(path, on_warning)


def project(
    images: Any,
    network: Network,
    *,
    out: str | os.PathLike[str] | None = None,
    on_step: "Callable[[StepRecord], None] | None" = None,
    on_message: Callable[[str], None] | None = None,
    on_failure: OnFailure = "raise",
    **settings: Any,
) -> Iterator[Result]:
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
            device; `policy`, an `ImagePolicy`; `overwrite`, to discard earlier results; `follow`, for links that lead
            out of folders; and for an HDF5 file `save_noise` ("none", "float32" or "float16") and `save_images`.

    Returns:
        An iterator over the results, in the order in which they come.

    Raises:
        ImageError: An image cannot be used, with `on_failure="raise"`.
        InvertError: The network, the settings or the output cannot be used, or there are no images.
    """
    job = _job(network, None if out is None else Path(out), settings)
    if not (callable(on_failure) or on_failure in ("raise", "skip")):
        raise UsageError(f"on_failure {on_failure!r} is neither 'raise' nor 'skip' nor a function")
    return _project(images, job, on_step, on_message or (lambda _: None), on_failure)


def _job(network: Network, out: Path | None, settings: dict[str, Any]) -> Job:
    more: dict[str, Any] = {name: settings.pop(name) for name in ("policy", "overwrite", "follow") if name in settings}
    for name, of_job in (("save_noise", "noise"), ("save_images", "images")):
        if name in settings:
            if out is None or not is_file(out):
                raise UsageError(f"{name} goes with one HDF5 file for all images", advice="Give out='FILE.h5'.")
            more[of_job] = settings.pop(name)
    settings = {"preset": "paper", **settings}
    if settings["preset"] not in PRESETS:
        raise UsageError(f"preset {settings['preset']!r} is not one of {', '.join(PRESETS)}")
    try:
        config = ProjectConfig(**with_defaults(settings))
    except TypeError as error:
        known = ", ".join(ProjectConfig.__dataclass_fields__)
        raise UsageError(f"{error}", advice=f"Settings are {known}.") from error
    return Job(Path(network) if isinstance(network, str | os.PathLike) else network, config, out=out, **more)


def _project(
    images: Any,
    job: Job,
    on_step: "Callable[[StepRecord], None] | None",
    on_message: Callable[[str], None],
    on_failure: OnFailure,
) -> Iterator[Result]:
    def find(output: Output) -> Any:
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
                    _fail(event, on_failure, on_message)
                elif isinstance(event, Done):
                    yield _result(run, event)
        run.finish()


def _fail(event: Failed, on_failure: OnFailure, on_message: Callable[[str], None]) -> None:
    if event.by_rule:
        on_message(event.message)
    elif callable(on_failure):
        on_failure(event)
    elif on_failure == "raise":
        raise event.to_error()
    else:
        on_message(event.message)


def _result(run: Run, event: Done) -> Result:
    found = event.projection if event.projection is not None else run.output.stored(event)
    return Result(
        name=os.fsdecode(event.name),
        distance=event.distance,
        w=found.w,
        noise=found.noise,
        image=found.image,
        target=event.target,
        layer_distances=found.layer_distances,
        curve=found.curve,
        status=event.status,
        restart=found.restart,
        is_new=event.is_new,
    )


def _results_before(run: Run) -> Iterator[Result]:
    """Yield what an earlier run has of these images, when it did all that can be done."""
    for name in run.output.names_before(run.found):
        facts = ("", 0.0, "ok", False, ())
        stored = run.output.stored(Done(name, *facts))
        yield _result(run, Done(name, "", stored.distance, stored.status, False, ()))


def generate(
    network: Network,
    seeds: Iterable[int],
    *,
    truncation_psi: float = 1.0,
    truncation_cutoff: int | None = None,
    class_index: int | None = None,
    noise: str = "const",
) -> Iterator[NDArray[np.uint8]]:
    """Generate an image for each seed.

    Args:
        network: From `load`, or its file.
        seeds: In 0..2^32 - 1. Seed S is the z numpy.random.RandomState(S).randn(1, z_dim), as in the published code.
        truncation_psi: 1 leaves w as it is, 0 gives the mean w.
        truncation_cutoff: How many styles, from the coarsest, are truncated; None is all.
        class_index: Class of a conditional network, from 0.
        noise: "const" (the maps stored in the network), "random" (fresh ones for each seed) or "none".

    Returns:
        An iterator over images, uint8 `[H, W, C]`; none depends on the other seeds.

    Raises:
        NetworkError: The file cannot be read, or is not a network.
        UsageError: The class, the truncation or the noise does not fit.
    """
    from invert.projection.latents import check_class

    if not np.isfinite(truncation_psi):
        raise UsageError(f"the truncation {truncation_psi} is not a finite number")
    if noise not in ("const", "random", "none"):
        raise UsageError(f"noise {noise!r} is not one of const, random, none")
    loaded = load(network) if isinstance(network, str | os.PathLike) else network
    generator = loaded.generator
    check_class(class_index, generator.config.mapping.c_dim, required=True)
    if truncation_cutoff is not None and not 0 <= truncation_cutoff <= generator.num_ws:
        raise UsageError(f"--cutoff {truncation_cutoff}: the network has {generator.num_ws} styles")
    truncation = {"truncation_psi": truncation_psi, "truncation_cutoff": truncation_cutoff}
    return _generate(generator, seeds, class_index, noise, truncation)


def _generate(
    generator: Any, seeds: Iterable[int], class_index: int | None, noise: str, truncation: dict[str, Any]
) -> Iterator[NDArray[np.uint8]]:
    import torch

    from invert.projection.latents import class_label, draw_image, seed_latent

    mapping = generator.config.mapping
    label = class_label(class_index, mapping.c_dim)
    generator.eval()
    device = generator.mapping.w_avg.device
    for seed in seeds:
        z = seed_latent(seed, mapping.z_dim).to(device)
        with torch.inference_mode():
            styles = generator.mapping_ws(z, None if label is None else label.to(device), **truncation)
        yield draw_image(generator, styles, noise, seed)
