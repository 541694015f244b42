"""Named sets of settings."""

from typing import Any

__all__ = ["PRESETS"]

_STYLEGAN = {
    "generator_architecture": "stylegan",
    "discriminator_architecture": "stylegan",
    "path_length_weight": 0.0,
    "lazy": False,
    "ema_warmup": 0.0,
}
"""What makes a StyleGAN of the defaults: no path length, and R1 in every step."""

# Learning rates and batches by resolution: the public settings of the papers' configurations.
_GROWN = {
    "channel_base": 16384,
    "growing": True,
    "learning_rate": 0.001,
    "discriminator_learning_rate": 0.001,
    "learning_rate_by_resolution": "128:0.0015,256:0.002,512:0.003,1024:0.003",
    "batch_by_resolution": "8:256,16:128,32:64,64:32",
}
_REVISED = {**_GROWN, "generator_architecture": "orig", "discriminator_architecture": "orig"}

_SMALL = {
    "z_dim": 128,
    "w_dim": 128,
    "channel_base": 512,
    "channel_max": 128,
    "batch": 16,
    "r1_gamma": 1.0,
    "ema_half_life_kimg": 10.0,
}

PRESETS: dict[str, dict[str, Any]] = {
    # Karras et al. 2020, table 1 and appendix B; gamma 100 belongs to configuration E.
    "stylegan2-f": {},
    "stylegan2-e": {"channel_base": 16384, "r1_gamma": 100.0},
    # Rows A to D of the same table grow: StyleGAN, demodulation, lazy regularisation, path length.
    "stylegan2-a": {**_STYLEGAN, **_GROWN},
    "stylegan2-b": {**_REVISED, "lazy": False, "path_length_weight": 0.0},
    "stylegan2-c": {**_REVISED, "path_length_weight": 0.0},
    "stylegan2-d": _REVISED,
    # Karras et al. 2019, row F of table 1 and appendix C.
    "stylegan": {**_STYLEGAN, **_GROWN},
    # What a laptop trains in an hour or two at 32 px; the networks that come with the project.
    "small": _SMALL,
    # The same widths, batch and R1, to set beside it; `growing` is off. R1 comes in every step, as above.
    "stylegan-small": {**_SMALL, **_STYLEGAN},
    # To see that everything runs: seconds.
    "tiny": {
        "z_dim": 32,
        "w_dim": 32,
        "mapping_layers": 2,
        "channel_base": 256,
        "channel_max": 32,
        "batch": 16,
        "r1_gamma": 1.0,
        "ema_half_life_kimg": 1.0,
    },
}
"""Named sets of settings, as what they change."""
