"""GAN inversion and source attribution for StyleGAN networks.

import invert

network = invert.load("ffhq.pkl")
for result in invert.project("photo.png", network, steps=300):
    print(result.name, result.distance)
"""

import importlib
from typing import TYPE_CHECKING, Any

from generator.openmp import import_torch
from invert.version import __version__ as __version__

if TYPE_CHECKING:  # what type checkers know of the table below; "as" is how they are told that it is public
    from invert.api import Attributions as Attributions
    from invert.api import Projected as Projected
    from invert.api import attribute as attribute
    from invert.api import calibrate as calibrate
    from invert.api import edit as edit
    from invert.api import find_directions as find_directions
    from invert.api import find_seeds as find_seeds
    from invert.api import generate as generate
    from invert.api import interpolate as interpolate
    from invert.api import load as load
    from invert.api import measure as measure
    from invert.api import mix as mix
    from invert.api import open_directions as open_directions
    from invert.api import open_latents as open_latents
    from invert.api import paste as paste
    from invert.api import project as project
    from invert.api import read_latent as read_latent
    from invert.api import train_encoder as train_encoder
    from invert.api import write_projected_w as write_projected_w
    from invert.errors import BusyError as BusyError
    from invert.errors import ImageError as ImageError
    from invert.errors import InvertError as InvertError
    from invert.errors import NetworkError as NetworkError
    from invert.errors import NoInputError as NoInputError
    from invert.errors import NumericError as NumericError
    from invert.errors import OutputError as OutputError
    from invert.errors import UsageError as UsageError
    from invert.images.decoding import ImagePolicy as ImagePolicy
    from invert.projection.config import ProjectConfig as ProjectConfig
    from invert.projection.projector import Projector as Projector

# Every public name: where it comes from once it is asked for, as the package itself must be imported in no time, and
# whether torch comes along.
_PUBLIC = {
    "Attributions": ("invert.api", False),
    "BusyError": ("invert.errors", False),
    "ImageError": ("invert.errors", False),
    "ImagePolicy": ("invert.images.decoding", False),
    "InvertError": ("invert.errors", False),
    "NetworkError": ("invert.errors", False),
    "NoInputError": ("invert.errors", False),
    "NumericError": ("invert.errors", False),
    "OutputError": ("invert.errors", False),
    "ProjectConfig": ("invert.projection.config", False),
    "Projected": ("invert.api", False),
    "Projector": ("invert.projection.projector", True),
    "UsageError": ("invert.errors", False),
    "attribute": ("invert.api", True),
    "calibrate": ("invert.api", True),
    "edit": ("invert.api", True),
    "find_directions": ("invert.api", True),
    "find_seeds": ("invert.api", True),
    "generate": ("invert.api", True),
    "interpolate": ("invert.api", True),
    "load": ("invert.api", True),
    "measure": ("invert.api", True),
    "mix": ("invert.api", True),
    "open_directions": ("invert.api", False),
    "open_latents": ("invert.api", False),
    "paste": ("invert.api", False),
    "project": ("invert.api", True),
    "read_latent": ("invert.api", True),
    "train_encoder": ("invert.api", True),
    "write_projected_w": ("invert.api", False),
}

if not TYPE_CHECKING:  # type checkers cannot read a computed list
    __all__ = sorted([*_PUBLIC, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'invert' has no attribute {name!r}")
    home, needs_torch = _PUBLIC[name]
    if needs_torch:
        import_torch()
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*_PUBLIC, "__version__"])
