"""How an image answers to each number of its noise maps, from few images: what lies far apart is tried at once.

A number of a noise map changes the image near its own place alone, so that one tangent can hold every fifth or so of a
map's numbers, and each pixel's answer belongs to the nearest of them (Curtis, Powell and Reid 1974). At 32 px that is
218 tangents in place of 2704. Where a network normalises over whole images (StyleGAN) the answer has a faint rest
everywhere that goes astray; a Gauss-Newton step bears that.
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from generator.bases import SynthesisBase
from generator.ops.dual import Dual

__all__ = ["noise_response"]

_SPACING = 5  # numbers of a map between those that are tried at once, where the image is larger than the map
_MORE = 2  # the same where another convolution follows at the map's own size


def noise_response(synthesis: SynthesisBase, ws: Tensor, maps: Mapping[str, Tensor]) -> Tensor:
    """Return the derivatives of one image in its noise maps.

    Args:
        synthesis: A frozen network.
        ws: `[1, num_ws, w_dim]`.
        maps: Map `[1, 1, r, r]` of each noise input.

    Returns:
        `[M, C, H, W]` for the M numbers of all maps, one map after another.
    """
    side = synthesis.config.img_resolution
    given = {name: Dual(values) for name, values in maps.items()}
    found = []
    for name, r in synthesis.noise_sizes.items():
        spacing = min(r, _spacing(name, r, side))
        probes = _probes(r, spacing).to(ws)
        answers = synthesis.carry(Dual(ws), {**given, name: Dual(maps[name], probes)}).tangents
        found.append(_sorted_out(cast(Tensor, answers), r, spacing))
    return torch.cat(found)


def _spacing(name: str, r: int, side: int) -> int:
    is_last = name.endswith("conv1")
    if r == side:
        return 1 if is_last else 1 + _MORE
    return _SPACING if is_last else _SPACING + _MORE


def _probes(r: int, spacing: int) -> Tensor:
    """Return maps `[spacing^2, 1, r, r]`, each with ones at the places of one remainder in both directions."""
    place = torch.arange(r) % spacing
    rows = (place == torch.arange(spacing)[:, None]).float()  # [spacing, r]
    return (rows[:, None, :, None] * rows[None, :, None, :]).reshape(-1, 1, r, r)


def _sorted_out(answers: Tensor, r: int, spacing: int) -> Tensor:
    """Return what belongs to each number of a map, `[r^2, C, H, W]`, of the answers to its probes."""
    channels, side = answers.shape[1], answers.shape[2]
    centres = (torch.arange(side, device=answers.device) + 0.5) * r / side - 0.5
    classes = torch.arange(spacing, device=answers.device)[:, None]
    last = classes + spacing * ((r - 1 - classes) // spacing)
    nearest = classes + spacing * torch.round((centres - classes) / spacing).long()  # [spacing, side]
    nearest = torch.minimum(nearest.clamp_min(0) + (nearest < 0) * classes, last)
    cells = nearest[:, None, :, None] * r + nearest[None, :, None, :]  # [spacing, spacing, side, side]
    cells = cells.reshape(-1, 1, side, side).expand(-1, channels, -1, -1)
    found = answers.new_zeros([r * r, channels, side, side])
    return found.scatter_(0, cells, answers)
