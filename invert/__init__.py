"""GAN inversion and source attribution for StyleGAN networks.

import invert

network = invert.load("ffhq.pkl")
for result in invert.project("photo.png", network, steps=300):
    print(result.name, result.distance)
"""

import importlib
from typing import TYPE_CHECKING, Any

from generator.openmp import import_torch
from invert.version import __version__

if TYPE_CHECKING:
    from invert.api import (
        Attributions,
        Projected,
        attribute,
        calibrate,
        edit,
        find_directions,
        find_seeds,
        generate,
        interpolate,
        load,
        measure,
        mix,
        open_directions,
        open_latents,
        project,
        read_latent,
        train_encoder,
        write_projected_w,
    )
    from invert.errors import (
        BusyError,
        ImageError,
        InvertError,
        NetworkError,
        NoInputError,
        NumericError,
        OutputError,
        UsageError,
    )
    from invert.images.decoding import ImagePolicy
    from invert.projection.config import ProjectConfig
    from invert.projection.projector import Projector

__all__ = [
    "Attributions",
    "BusyError",
    "ImageError",
    "ImagePolicy",
    "InvertError",
    "NetworkError",
    "NoInputError",
    "NumericError",
    "OutputError",
    "ProjectConfig",
    "Projected",
    "Projector",
    "UsageError",
    "__version__",
    "attribute",
    "calibrate",
    "edit",
    "find_directions",
    "find_seeds",
    "generate",
    "interpolate",
    "load",
    "measure",
    "mix",
    "open_directions",
    "open_latents",
    "project",
    "read_latent",
    "train_encoder",
    "write_projected_w",
]

# Where each name comes from, once it is asked for: the package itself must be imported in no time.
_HOMES = {
    "invert.api": (
        "Attributions",
        "Projected",
        "attribute",
        "calibrate",
        "edit",
        "find_directions",
        "find_seeds",
        "generate",
        "interpolate",
        "load",
        "measure",
        "mix",
        "open_directions",
        "open_latents",
        "project",
        "read_latent",
        "train_encoder",
        "write_projected_w",
    ),
    "invert.errors": (
        "BusyError",
        "ImageError",
        "InvertError",
        "NetworkError",
        "NoInputError",
        "NumericError",
        "OutputError",
        "UsageError",
    ),
    "invert.images.decoding": ("ImagePolicy",),
    "invert.projection.config": ("ProjectConfig",),
    "invert.projection.projector": ("Projector",),
}
_NEEDS_TORCH = (
    "Projector",
    "attribute",
    "calibrate",
    "edit",
    "find_directions",
    "find_seeds",
    "generate",
    "interpolate",
    "load",
    "measure",
    "mix",
    "project",
    "read_latent",
    "train_encoder",
)
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'invert' has no attribute {name!r}")
    if name in _NEEDS_TORCH:
        import_torch()
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
