"""Latents that functions are given, and the network that they are given to, made ready."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from invert.api.arguments import Network, OnMessage, load, silent
from invert.errors import NoInputError, UsageError
from invert.sheets.references import ProjectedLatent, Reference, Seed, parse_references

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork
    from generator.networks import Generator

__all__ = ["Latent", "Prepared", "prepare"]

Latent: TypeAlias = "int | str | os.PathLike[str] | Seed | ProjectedLatent"


@dataclass(frozen=True, eq=False)
class Prepared:
    """A network on its device, in evaluation mode, and latents for it.

    Attributes:
        loaded: The network.
        references: The latents, not yet read.
        device: The device.
    """

    loaded: "LoadedNetwork"
    references: Sequence[Reference]
    device: str

    @property
    def generator(self) -> "Generator":
        """The generator."""
        return self.loaded.generator


def prepare(
    network: Network,
    latents: Iterable[Latent],
    *,
    truncation_psi: float,
    truncation_cutoff: int | None,
    class_index: int | None,
    threads: int | None,
    device: str,
    on_warning: OnMessage,
) -> Prepared:
    """Load a network and validate what is asked of it.

    Args:
        network: From `load`, or its file.
        latents: Seeds and projections, see `invert.generate`.
        truncation_psi: Any finite number.
        truncation_cutoff: How many styles are truncated; None is all.
        class_index: Class of the seeds of a conditional network.
        threads: CPU threads; by default as torch has them.
        device: "auto", "cpu", "cuda" ...
        on_warning: Called with a line on what should be known.

    Raises:
        NetworkError: The file cannot be read, or is not a network.
        NoInputError: A file of latents is not there.
        UsageError: The class, the truncation or the device does not fit.
    """
    references = [_reference(latent) for latent in latents]
    for path in {one.path for one in references if isinstance(one, ProjectedLatent)}:
        if not path.exists():
            raise NoInputError("there is no such file", path=path, advice="Check the name.", code="file-missing")
    if not np.isfinite(truncation_psi):
        raise UsageError(f"the truncation {truncation_psi} is not a finite number")
    # Only now: what is above must be quick, and this imports torch.
    from invert.projection.latents import check_class, check_cutoff
    from invert.projection.session import prepare_process, settle_device

    loaded = load(network, on_warning=on_warning) if isinstance(network, str | os.PathLike) else network
    generator = loaded.generator
    needs_class = any(isinstance(one, Seed) for one in references)
    check_class(class_index, generator.config.mapping.c_dim, required=needs_class)
    check_cutoff(truncation_cutoff, generator.num_ws)
    chosen = settle_device(device)
    prepare_process(chosen, threads, silent)
    generator.eval().to(chosen)
    return Prepared(loaded, references, chosen)


def _reference(latent: Latent) -> Reference:
    if isinstance(latent, Seed | ProjectedLatent):
        return latent
    try:
        (found,) = parse_references(os.fspath(latent) if isinstance(latent, str | os.PathLike) else str(latent))
    except ValueError as error:
        raise UsageError(f"{latent!r} is neither a seed nor a projection ({error})") from None
    return found
