"""Latents read, moved, mixed and interpolated: what `invert directions`, `edit`, `mix` and `interpolate` do."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from invert.api.arguments import Network, OnMessage, silent
from invert.api.latents import Latent, Prepared, prepare
from invert.errors import UsageError
from invert.sheets.photos import open_photo
from invert.sheets.references import ProjectedLatent

if TYPE_CHECKING:
    from invert.editing.directions import Directions
    from invert.editing.discovery import Method
    from invert.editing.moves import Edited, Move
    from invert.images.arrays import ImageLike
    from invert.sheets.interpolation import Easing
    from invert.sheets.sources import Source, Synthesise

__all__ = [
    "edit",
    "find_directions",
    "interpolate",
    "mix",
    "open_directions",
    "read_latent",
    "write_projected_w",
]

Image: TypeAlias = NDArray[np.uint8]
Which: TypeAlias = "Directions | str | os.PathLike[str]"


def open_directions(path: str | os.PathLike[str]) -> "Directions":
    """Read a file of directions that `invert directions` or `Directions.save` wrote.

    Raises:
        NoInputError: It cannot be read, is damaged, or something else.
    """
    from invert.editing.directions import read_directions

    return read_directions(Path(path))


def find_directions(
    network: Network,
    method: "Method" = "sefa",
    *,
    count: int = 10,
    styles: Sequence[int] | None = None,
    samples: int = 10_000,
    seed: int = 0,
    labels: str | os.PathLike[str] | None = None,
    classifier_kimg: float = 100.0,
    attributes: str | None = None,
    threads: int | None = None,
    device: str = "auto",
    on_progress: Callable[[str, int, int], None] | None = None,
    on_warning: OnMessage | None = None,
) -> "Directions":
    """Find directions in W along which the images of a network change.

    Args:
        network: From `load`, or its file.
        method: "sefa" (eigenvectors of the style weights), "pca" (principal components of W) or "labels" (normals of
            hyperplanes between samples with and without an attribute).
        count: How many, at most; of labels all are kept.
        styles: The styles that sefa looks at, and that are moved; None is all.
        samples: How many w are drawn.
        seed: Seed of what is drawn.
        labels: For "labels": a data set with labels or attributes, or a .npz of z and probabilities of samples.
        classifier_kimg: Thousands of images that the classifier of each attribute is trained on.
        attributes: Names of the attributes that are wanted, such as "skin,hair"; by default all.
        threads: CPU threads; by default as torch has them.
        device: "auto", "cpu", "cuda", "cuda:1" ...
        on_progress: Called with what is done, how much of it, and how much there is.
        on_warning: Called with a line on what should be known.

    Returns:
        The directions, with `names`, `vectors` [D, w_dim], `deviations`, `choose` and `save`.

    Raises:
        NetworkError: The network cannot be used.
        NoInputError: There are no labels, or none that tell samples apart.
        UsageError: There is no such method or style, or it does not fit.
    """
    warn = on_warning or silent
    prepared = _ready(network, [], {}, threads, device, warn)
    from invert.editing import discovery

    if method not in discovery.METHODS:
        raise UsageError(f"method {method!r} is not one of {', '.join(discovery.METHODS)}")
    given = None
    if labels is not None:
        progress = on_progress or (lambda *_: None)
        given = discovery.Labels(Path(labels), classifier_kimg, prepared.device, progress, attributes)
    return discovery.find_directions(
        prepared.loaded,
        method,
        count=count,
        styles=styles,
        samples=samples,
        seed=seed,
        labels=given,
        on_warning=warn,
    )


def edit(
    network: Network,
    latent: Latent,
    directions: "Which | Iterable[Which]",
    amounts: Sequence[float] = (-3, -2, -1, 0, 1, 2, 3),
    *,
    styles: Sequence[int] | None = None,
    together: bool = False,
    paste: "str | os.PathLike[str] | ImageLike | None" = None,
    noise: str = "kept",
    threads: int | None = None,
    device: str = "auto",
    on_warning: OnMessage | None = None,
    **latents: Any,
) -> "Iterator[Edited]":
    """Move a latent along directions.

    Args:
        network: From `load`, or its file.
        latent: A seed, a projection, or a latent of another program, as for `generate`.
        directions: From `find_directions` or `open_directions`, or files such as "pca.safetensors:0-3"; one or several.
        amounts: How far, in standard deviations of W along the direction.
        styles: The styles that are moved; by default those that the directions were found for.
        together: Move along all directions at once, not along one after the other.
        paste: The photo that the latent was projected from with `align="face"`: images are that photo, edited.
        noise: "kept" (a projection's own maps), "fixed", "random" or "zero".
        threads: CPU threads; by default as torch has them.
        device: "auto", "cpu", "cuda", "cuda:1" ...
        on_warning: Called with a line on what should be known.
        latents: `truncation_psi`, `truncation_cutoff` and `class_index`, as for `generate`.

    Returns:
        An iterator over images of the first direction with each amount, then of the second, and so on, each with
        `direction`, `amount`, `image` uint8 [H, W, C] and `w` float32 [num_ws, w_dim].

    Raises:
        NetworkError: The network cannot be used.
        NoInputError: The latent or a file of directions cannot be read, or does not fit the network.
        UsageError: There is no such direction, style, class or device.
    """
    warn = on_warning or silent
    prepared = _ready(network, [latent], latents, threads, device, warn)
    if not all(map(np.isfinite, amounts)):
        raise UsageError("an amount is not finite")
    from invert.editing.moves import edit_latent, joined

    moves = _moves(prepared, directions, styles, warn)
    moves = [joined(moves)] if together and moves else moves
    (source,) = _sources(prepared, latents, warn)
    make = _maker(prepared, noise, {}, warn)
    edited = edit_latent(prepared.generator, source, moves, list(amounts), make, **_truncation(latents))
    if paste is None:
        return edited
    photo = open_photo(paste, source.label, source.cut, prepared.generator.config.synthesis.img_channels, warn)
    return (replace(one, image=photo.around(one.image)) for one in edited)


def mix(
    network: Network,
    rows: Iterable[Latent],
    columns: Iterable[Latent],
    styles: Sequence[int],
    *,
    noise: str = "kept",
    threads: int | None = None,
    device: str = "auto",
    on_warning: OnMessage | None = None,
    **latents: Any,
) -> Iterator[list[Image]]:
    """Mix the styles of latents.

    Args:
        network: From `load`, or its file.
        rows: Latents that give the noise and all other styles.
        columns: Latents that give the named styles.
        styles: The styles that are taken from `columns`, 0 the coarsest.
        noise: As for `edit`.
        threads: CPU threads; by default as torch has them.
        device: "auto", "cpu", "cuda", "cuda:1" ...
        on_warning: Called with a line on what should be known.
        latents: `truncation_psi`, `truncation_cutoff` and `class_index`, as for `generate`.

    Returns:
        An iterator over rows: an image uint8 [H, W, C] for each of `columns`.

    Raises:
        NetworkError, NoInputError, UsageError: As for `edit`.
    """
    warn = on_warning or silent
    left = list(rows)
    prepared = _ready(network, [*left, *columns], latents, threads, device, warn)
    count = prepared.generator.num_ws
    far = next((style for style in styles if not 0 <= style < count), None)
    if far is not None:
        raise UsageError(f"style {far}: the network has {count} styles, 0 to {count - 1}")
    from invert.sheets.mixing import mix_styles

    found, make = _sources(prepared, latents, warn), _maker(prepared, noise, latents, warn)

    def mixed() -> Iterator[list[Image]]:
        for row in found[: len(left)]:
            yield [make(mix_styles(row.ws, column.ws, styles), row) for column in found[len(left) :]]

    return mixed()


def interpolate(
    network: Network,
    keys: Iterable[Latent],
    steps: int = 11,
    *,
    space: Literal["z", "w"] | None = None,
    easing: "Easing" = "linear",
    noise: str = "kept",
    threads: int | None = None,
    device: str = "auto",
    on_warning: OnMessage | None = None,
    **latents: Any,
) -> Iterator[Image]:
    """Generate the images on the way through latents.

    Args:
        network: From `load`, or its file.
        keys: Two or more latents.
        steps: Images from each latent to the next, both included; 2 or more.
        space: "z" along the sphere or "w" straight; by default z, and w with projections, which have no z.
        easing: "linear", or "smooth": each way begins and ends slowly.
        noise: "kept" (with projections the maps change from those of one to those of the next), "fixed", "random"
            (that of the first latent) or "zero".
        threads: CPU threads; by default as torch has them.
        device: "auto", "cpu", "cuda", "cuda:1" ...
        on_warning: Called with a line on what should be known.
        latents: `truncation_psi`, `truncation_cutoff` and `class_index`, as for `generate`.

    Returns:
        An iterator over images, uint8 [H, W, C]; each key once.

    Raises:
        NetworkError, NoInputError, UsageError: As for `edit`.
    """
    warn = on_warning or silent
    prepared = _ready(network, keys, latents, threads, device, warn)
    if len(prepared.references) < 2 or steps < 2:
        raise UsageError("a way takes two latents and two steps at the least")
    if space not in (None, "z", "w") or easing not in ("linear", "smooth"):
        raise UsageError(f"space {space!r} with easing {easing!r} is not z or w, linear or smooth")
    has_projection = any(isinstance(one, ProjectedLatent) for one in prepared.references)
    if space == "z" and has_projection:
        raise UsageError("a projection is found in W and has no z", advice="Use space 'w'.")
    import torch

    from invert.projection.latents import class_label
    from invert.sheets.interpolation import frames_between, maps_of_keys

    generator = prepared.generator
    found, make = _sources(prepared, latents, warn), _maker(prepared, noise, latents, warn)
    label = class_label(latents.get("class_index"), generator.config.mapping.c_dim)
    c = None if label is None else label.to(generator.mapping.w_avg.device)
    to_ws = torch.inference_mode()(lambda z: generator.mapping_ws(z, c))
    maps = maps_of_keys(found, generator, warn) if noise in ("kept", "own") else None

    def images() -> Iterator[Image]:
        chosen = space or ("w" if has_projection else "z")
        try:
            for frame in frames_between(found, steps, chosen, to_ws, maps=maps, easing=easing):
                yield make(frame.ws, frame.source)
        except ValueError as error:
            raise UsageError(f"space z: {error}", advice="Use space 'w'.") from error

    return images()


class _Read(NamedTuple):
    """A latent as a network takes it."""

    w: NDArray[np.float32]
    noise: dict[str, NDArray[np.float32]]


def read_latent(
    network: Network, latent: Latent, *, on_warning: OnMessage | None = None, class_index: int | None = None
) -> _Read:
    """Read a latent: of a seed, of a projection, or of a file that another program wrote.

    Args:
        network: From `load`, or its file.
        latent: As for `generate`.
        on_warning: Called with a line on what should be known.
        class_index: Class of the seeds of a conditional network.

    Returns:
        `w` float32 [num_ws, w_dim], and `noise`: map [r, r] of each layer, where it has maps of its own.

    Raises:
        NetworkError, NoInputError, UsageError: As for `edit`.
    """
    warn = on_warning or silent
    latents = {"class_index": class_index}
    prepared = _ready(network, [latent], latents, None, "cpu", warn)
    (source,) = _sources(prepared, latents, warn)
    return _Read(source.ws[0].cpu().numpy(), {name: np.asarray(one, np.float32) for name, one in source.noise.items()})


def write_projected_w(path: str | os.PathLike[str], w: Any) -> None:
    """Write latents as the projector of stylegan2-ada-pytorch does, for programs that read its `projected_w.npz`.

    Args:
        path: The file.
        w: float32 `[num_ws, w_dim]`, or `[N, num_ws, w_dim]` for several.

    Raises:
        UsageError: It is no such array.
        OutputError: The file cannot be written.
    """
    from invert.durable import ensure_folder, write_atomic
    from invert.store.latent_files import projected_w

    array = np.asarray(w)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or array.dtype.kind != "f" or not np.isfinite(array).all():
        raise UsageError(f"an array {array.dtype.name} {list(array.shape)} is not finite w [N, num_ws, w_dim]")
    ensure_folder(Path(path).parent)
    write_atomic(Path(path), projected_w(array))


_LATENT_SETTINGS = ("truncation_psi", "truncation_cutoff", "class_index")


def _ready(
    network: Network,
    latents: Iterable[Latent],
    settings: dict[str, Any],
    threads: int | None,
    device: str,
    on_warning: OnMessage,
) -> Prepared:
    for name in settings:
        if name not in _LATENT_SETTINGS:
            raise UsageError(f"there is no setting {name!r}", advice=f"Settings are {', '.join(_LATENT_SETTINGS)}.")
    return prepare(
        network,
        latents,
        **_truncation(settings),
        class_index=settings.get("class_index"),
        threads=threads,
        device=device,
        on_warning=on_warning,
    )


def _truncation(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "truncation_psi": settings.get("truncation_psi", 1.0),
        "truncation_cutoff": settings.get("truncation_cutoff"),
    }


def _sources(prepared: Prepared, settings: dict[str, Any], on_warning: OnMessage) -> "list[Source]":
    from invert.sheets.sources import find_sources

    return find_sources(prepared.references, prepared.loaded, settings.get("class_index"), on_warning)


def _maker(prepared: Prepared, noise: str, settings: dict[str, Any], on_warning: OnMessage) -> "Synthesise":
    from invert.projection.synthesis import noise_word
    from invert.sheets.sources import image_maker

    return image_maker(prepared.generator, noise_word(noise, "kept"), on_warning, **_truncation(settings))


def _moves(
    prepared: Prepared, directions: "Which | Iterable[Which]", styles: Sequence[int] | None, on_warning: OnMessage
) -> "list[Move]":
    from invert.editing.directions import Directions, check_network, choose_directions
    from invert.editing.moves import moves_along

    listed = [directions] if isinstance(directions, Directions | str | os.PathLike) else list(directions)
    found = []
    for one in listed:
        if isinstance(one, Directions):
            check_network(one, prepared.loaded, None, on_warning)
            found.append(one)
        else:
            found.append(choose_directions(os.fspath(one), prepared.loaded, on_warning))
    return [move for one in found for move in moves_along(one, styles, prepared.generator.num_ws)]
