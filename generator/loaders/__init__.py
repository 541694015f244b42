"""Networks from files, safely: nothing in a file is ever run.

`inspect` reads and checks a file with the standard library and numpy alone; `load` also builds the networks.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator.loaders.dispatch import Inspection, inspect
from generator.loaders.state import LoadedState
from generator.loaders.weights import digest

if TYPE_CHECKING:
    from generator.networks import AnyDiscriminator, Generator

__all__ = ["Inspection", "LoadedNetwork", "LoadedState", "Provenance", "inspect", "load"]


@dataclass(frozen=True)
class Provenance:
    """Where a network came from.

    Attributes:
        path: The file.
        sha256: Hash of the bytes that were read.
        weights_sha256: Hash of the generator's weights, the same whatever kind of file holds them.
        family: The code that wrote the network first.
        source_sha256: Hash of the file that it came from first: this file, unless it was converted.
        settings: The settings that file carried, as JSON types; only ever shown.
        warnings: What a user should know about the conversion.
    """

    path: Path
    sha256: str
    weights_sha256: str
    family: str
    source_sha256: str
    settings: dict[str, Any]
    warnings: list[str]


@dataclass(frozen=True)
class LoadedNetwork:
    """A network that was read from a file."""

    generator: "Generator"
    discriminator: "AnyDiscriminator | None"
    provenance: Provenance


def load(path: str | os.PathLike[str]) -> LoadedNetwork:
    """Read a network file and build its networks, on the CPU and in evaluation mode.

    Args:
        path: A file of stylegan2-ada-pytorch, stylegan3 (StyleGAN2 architecture), the TensorFlow code of StyleGAN,
            StyleGAN2 and StyleGAN2-ADA, rosinality, or this project; recognised by what it holds.

    Raises:
        NetworkFileError: The file is unsafe, damaged, unsupported or of another kind.
    """
    from generator.loaders.build import build_discriminator, build_generator

    found = inspect(path)
    state = found.state
    generator = build_generator(state)
    weights = found.weights_sha256
    if "mapping.w_avg" not in state.generator_state:
        weights = digest({name: value.numpy() for name, value in generator.state_dict().items()})
    provenance = Provenance(
        path=found.path,
        sha256=found.sha256,
        weights_sha256=weights,
        family=state.family,
        source_sha256=state.source_sha256 or found.sha256,
        settings=state.settings,
        warnings=state.warnings,
    )
    return LoadedNetwork(generator, build_discriminator(state), provenance)
