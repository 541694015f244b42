"""The program's jobs as functions: no command line, no streams, results as they come.

import invert

network = invert.load("ffhq.pkl")
for result in invert.project("photo.png", network, steps=300):
    result.distance, result.w, result.image
"""

from invert.api.arguments import load
from invert.api.calibrations import calibrate, measure_share
from invert.api.edits import (
    edit,
    find_directions,
    interpolate,
    mix,
    open_directions,
    read_latent,
    write_projected_w,
)
from invert.api.encoders import train_encoder
from invert.api.measurements import measure
from invert.api.photos import paste
from invert.api.projections import Projected, project
from invert.api.samples import generate
from invert.api.seeds import SEED_DEFAULTS, Seeds, find_seeds, seeds_of
from invert.api.verdicts import Attributions, attribute
from invert.batch.work import Failed
from invert.hdf5.reading import Latents, open_latents

__all__ = [
    "SEED_DEFAULTS",
    "Attributions",
    "Failed",
    "Latents",
    "Projected",
    "Seeds",
    "attribute",
    "calibrate",
    "edit",
    "find_directions",
    "find_seeds",
    "generate",
    "interpolate",
    "load",
    "measure",
    "measure_share",
    "mix",
    "open_directions",
    "open_latents",
    "paste",
    "project",
    "read_latent",
    "seeds_of",
    "train_encoder",
    "write_projected_w",
]
