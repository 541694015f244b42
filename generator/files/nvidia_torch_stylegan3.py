"""What is StyleGAN3's (alias-free) own in the files of NVIDIA's PyTorch code."""

from collections.abc import Collection, Mapping
from typing import Any, Final

import numpy as np

import generator.stylegan3 as stylegan3
from generator.errors import NetworkFileError, escaped
from generator.files.pickles.records import Array
from generator.files.state import Part
from generator.files.weights import Weight, shapes_of
from generator.stylegan3.config import StyleGAN3SynthesisConfig
from generator.stylegan3.filters import down_filter, up_filter
from generator.tensors import Hints

__all__ = ["CLAIMS", "FAMILY", "MODULES", "STATE_HINTS", "STATE_ONLY", "W_AVG_BETA", "is_stylegan3", "part"]

FAMILY: Final = "stylegan3"
MODULES: Final = frozenset({"SynthesisInput"})
"""Classes that StyleGAN2's networks do not have."""
W_AVG_BETA: Final = 0.998
STATE_HINTS: Final = Hints(conv_clamp=256.0, w_avg_beta=W_AVG_BETA)
"""What is taken for a state dictionary, which holds tensors alone."""
STATE_ONLY: Final = (
    "a state dictionary does not tell the layers' frequencies and clamp: the published ones are taken, which give the"
    " filters that it holds"
)
# Settings of the synthesis network, under our names, which are theirs; shapes do not tell them.
CLAIMS: Final = (
    "num_layers",
    "num_critical",
    "first_cutoff",
    "first_stopband",
    "last_stopband_rel",
    "margin_size",
    "output_scale",
    "conv_kernel",
    "filter_size",
    "lrelu_upsampling",
    "use_radial_filters",
    "magnitude_ema_beta",
)
_FILTERS: Final = ("up_filter", "down_filter")
_TOLERANCE: Final = 1e-4  # of a filter's largest tap; their last digits differ from one release of scipy to the next


def is_stylegan3(names: Collection[str]) -> bool:
    """Say whether the names of a generator's tensors are those of StyleGAN3."""
    return "synthesis.input.freqs" in names


def part(weights: Mapping[str, Weight], hints: Hints) -> Part:
    """Return a generator's part without its filters, which its settings give.

    Args:
        weights: All its tensors, under their names.
        hints: What shapes do not tell.

    Raises:
        NetworkFileError: The filters are others than those of the settings.
    """
    filters = {name: item for name, item in weights.items() if name.rpartition(".")[2] in _FILTERS}
    rest = {name: item for name, item in weights.items() if name not in filters}
    claims: dict[str, Any] = dict(hints.claims)
    if "use_radial_filters" not in claims:
        claims["use_radial_filters"] = any(item.array.ndim == 2 for item in filters.values())
    found = Part(rest, Hints(**{**vars(hints), "claims": claims}))
    synthesis = stylegan3.generator_config(shapes_of(rest), found.hints).synthesis
    # layers of other names are refused where all tensors are compared with the settings
    if isinstance(synthesis, StyleGAN3SynthesisConfig) and stylegan3.synthesis_shapes(synthesis).keys() <= rest.keys():
        _check_filters(filters, synthesis)
    return found


def _check_filters(filters: Mapping[str, Weight], config: StyleGAN3SynthesisConfig) -> None:
    expected: dict[str, Array] = {}
    for layer in config.layers:
        for name, taps in zip(_FILTERS, (up_filter(layer), down_filter(layer)), strict=True):
            if taps is not None:
                expected[f"synthesis.{layer.name}.{name}"] = taps
    for name, taps in expected.items():
        if name not in filters:
            raise NetworkFileError(f"damaged: it lacks '{name}', of shape {taps.shape}")
    for name, item in filters.items():
        taps = expected.get(name, np.empty(0))
        close = item.array.shape == taps.shape and np.allclose(item.array, taps, atol=_TOLERANCE * np.abs(taps).max())
        if not close:
            raise NetworkFileError(
                f"unsupported: '{escaped(item.source)}' is not the filter that the settings of its layers give"
            )
