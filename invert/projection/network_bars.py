"""Networks whose own images have black bars, such as those of LSUN Car: 512 x 384 within 512 x 512."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from generator.networks import Generator
from invert.images.arrays import Pixels, to_uint8
from invert.images.bars import Bars, bars_of
from invert.images.decoding import ImagePolicy
from invert.images.fitting import FITS
from invert.projection.latents import class_label

__all__ = ["bars_of_network", "settled_fit"]

_SAMPLES = 8
_PSI = 0.7


@torch.no_grad()
def bars_of_network(generator: Generator) -> Bars | None:
    """Return the black bars that all images of a network have; None where they have none.

    The image of the mean w is looked at first, so that it costs little where there are none.

    Args:
        generator: The generator, in evaluation mode.
    """
    brightest = _image(generator, generator.broadcast(generator.mapping.w_avg[None]))
    if bars_of(brightest) is None:
        return None
    # Not the stream of anything else, and always the same: what comes of it is in the method record.
    stream = torch.Generator().manual_seed(0)
    mapping, device = generator.config.mapping, generator.mapping.w_avg.device
    for number in range(_SAMPLES):
        z = torch.randn([1, mapping.z_dim], generator=stream).to(device)
        label = class_label(number % mapping.c_dim if mapping.c_dim else None, mapping.c_dim)
        ws = generator.mapping_ws(z, None if label is None else label.to(device))
        brightest = np.maximum(brightest, _image(generator, generator.truncate(ws, _PSI)))
    return bars_of(brightest)


def _image(generator: Generator, ws: Tensor) -> Pixels:
    maps = {name: one for name, one in generator.synthesis.noise_maps("const", 1).items() if one is not None}
    image: Pixels = to_uint8(generator.synthesis(ws, maps))[0]
    return image


def settled_fit(
    policy: ImagePolicy,
    generator: Generator | None,
    before: Mapping[str, Any] | None = None,
    on_message: Callable[[str], None] = lambda _: None,
) -> ImagePolicy:
    """Return a policy whose `fit` is not left to the network any more.

    Args:
        policy: What is accepted as an image, with "auto".
        generator: The generator, in evaluation mode; None where images are compared whole, whatever the network.
        before: The method record of an output that is resumed: what is left open is as it is there.
        on_message: Called with a line where bars were found.
    """
    known = None if before is None else before.get("image_policy")
    if isinstance(known, Mapping):
        fit = known.get("fit", "crop")
        return dataclasses.replace(policy, fit=fit if fit in FITS else "crop")
    bars = None if generator is None else bars_of_network(generator)
    if bars is None:
        return dataclasses.replace(policy, fit="crop")
    on_message(
        f"the network's own images have black bars {bars.words}: images of other proportions are put on black, and "
        "bars do not count, as with --fit pad"
    )
    return dataclasses.replace(policy, fit="pad")
