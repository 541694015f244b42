"""Names of tensors in TensorFlow and rosinality files, and how each becomes one of ours.

Ours are those of stylegan2-ada-pytorch. A translation gives the new name and the transform of the array; None is a name
that the network does not have.
"""

import re
from collections.abc import Callable
from typing import Final

import numpy as np

from generator.errors import NetworkFileError
from generator.files.pickles.records import Array, escaped
from generator.files.weights import Weight

__all__ = [
    "DROPPED",
    "Translation",
    "rosinality_discriminator",
    "rosinality_generator",
    "tensorflow_discriminator",
    "tensorflow_mapping",
    "tensorflow_synthesis",
    "translate",
]

Translation = tuple[str, str] | None

# Transforms by name: the number of dimensions they take, and what they do. Weights of TensorFlow are [kh, kw, in, out].
TRANSFORMS: Final[dict[str, tuple[tuple[int, ...], Callable[[Array], Array]]]] = {
    "same": (tuple(range(9)), lambda a: a),
    "transpose": ((2,), lambda a: a.T),
    "filter": ((4,), lambda a: a.transpose(3, 2, 0, 1)),
    "flipped filter": ((4,), lambda a: a[::-1, ::-1].transpose(3, 2, 0, 1)),
    "first": ((4, 5), lambda a: a[0]),
    "map": ((4,), lambda a: a[0, 0]),
    "plus one": ((1,), lambda a: a.astype(np.float32) + np.float32(1)),
    "vector": ((1, 4), lambda a: a.reshape(-1)),
    "scalar": ((0, 1), lambda a: a.reshape(())),
}
SINGLE_AXES: Final = {"first": 1, "map": 2}  # leading axes that must have size 1

DROPPED: Final[Translation] = ("", "same")

_LAYERS: Final = {"Conv": "conv1", "Conv0_up": "conv0", "Conv1": "conv1", "ToRGB": "torgb", "Skip": "skip"}
_PARAMETERS: Final = {
    "weight": ("weight", "filter"),
    "mod_weight": ("affine.weight", "transpose"),
    "mod_bias": ("affine.bias", "plus one"),
    "bias": ("bias", "same"),
    "noise_strength": ("noise_strength", "same"),
}
# both stored upside down for the transposed convolution that TensorFlow used
_FLIPPED: Final = ("Conv0_up", "Skip")


def translate(weight: Weight, transform: str) -> Weight:
    """Bring a weight into our layout.

    Raises:
        NetworkFileError: It has a shape that the transform does not take.
    """
    dimensions, function = TRANSFORMS[transform]
    shape = weight.array.shape
    leading = shape[: SINGLE_AXES.get(transform, 0)]
    if len(shape) not in dimensions or any(size != 1 for size in leading):
        raise NetworkFileError(f"damaged: '{escaped(weight.source)}' has the unexpected shape {shape}")
    if transform == "vector" and weight.array.size != max(shape):
        raise NetworkFileError(f"damaged: '{escaped(weight.source)}' has shape {shape}, not that of a bias")
    if transform == "scalar" and weight.array.size != 1:
        raise NetworkFileError(f"damaged: '{escaped(weight.source)}' has shape {shape}, not that of one number")
    return Weight(function(weight.array), weight.source, weight.kind)


def _noise(index: int) -> str:
    """Return the layer of the k-th noise map: one at 4 px, then two at each resolution."""
    return f"synthesis.b{1 << ((index + 5) // 2)}.conv{index % 2 ^ 1}.noise_const"


def tensorflow_mapping(name: str) -> Translation:
    """Translate a variable of G_mapping."""
    if match := re.fullmatch(r"Dense(\d{1,3})/(weight|bias)", name):
        return f"mapping.fc{match[1]}.{match[2]}", "transpose" if match[2] == "weight" else "same"
    if name == "LabelConcat/weight":
        return "mapping.label_matrix", "same"
    return _label_embedding(name)


def _label_embedding(name: str) -> Translation:
    known = {"LabelEmbed/weight": "transpose", "LabelEmbed/bias": "same"}
    return (f"mapping.embed.{name.removeprefix('LabelEmbed/')}", known[name]) if name in known else None


def tensorflow_synthesis(name: str, resolution: int) -> Translation:
    """Translate a variable of G_synthesis_stylegan2, or of G_synthesis_stylegan_revised (configurations B to D)."""
    if name == "lod":
        return DROPPED
    if match := re.fullmatch(r"noise(\d{1,2})", name):
        return _noise(int(match[1])), "map"
    if match := re.fullmatch(r"ToRGB_lod(\d{1,2})/(\w+)", name):
        if match[1] != "0":  # only used while growing
            return DROPPED
        name = f"{resolution}x{resolution}/ToRGB/{match[2]}"
    if name == "4x4/Const/const":
        return "synthesis.b4.const", "first"
    match = re.fullmatch(r"(\d{1,6})x\1/(Conv|Conv0_up|Conv1|ToRGB|Skip)/(\w+)", name)
    if not match or match[3] not in _PARAMETERS or (match[2] == "Conv") != (match[1] == "4" and match[2] != "ToRGB"):
        return None
    parameter, transform = _PARAMETERS[match[3]]
    if match[2] in _FLIPPED and match[3] == "weight":
        transform = "flipped filter"
    return f"synthesis.b{match[1]}.{_LAYERS[match[2]]}.{parameter}", transform


def tensorflow_discriminator(name: str, resolution: int) -> Translation:
    """Translate a variable of D_stylegan2, or of D_stylegan (configurations B to D)."""
    if name == "lod":
        return DROPPED
    if match := re.fullmatch(r"FromRGB_lod(\d{1,2})/(weight|bias)", name):
        if match[1] != "0":
            return DROPPED
        name = f"{resolution}x{resolution}/FromRGB/{match[2]}"
    if match := re.fullmatch(r"(4x4/Dense0|Output|Mapping(\d{1,3}))/(weight|bias)", name):
        layer = {"4x4/Dense0": "b4.fc", "Output": "b4.out"}.get(match[1], f"mapping.fc{match[2]}")
        return f"{layer}.{match[3]}", "transpose" if match[3] == "weight" else "same"
    if match := re.fullmatch(r"(\d{1,6})x\1/(FromRGB|Conv0|Conv1_down|Conv|Skip)/(weight|bias)", name):
        layer = {"Conv1_down": "conv1"}.get(match[2], match[2].lower())
        return f"b{match[1]}.{layer}.{match[3]}", "filter" if match[3] == "weight" else "same"
    return _label_embedding(name)


_ROSINALITY_LAYER: Final = {
    "conv.weight": ("weight", "first"),
    "conv.modulation.weight": ("affine.weight", "same"),
    "conv.modulation.bias": ("affine.bias", "same"),
}
_ROSINALITY_CONV: Final = {
    **_ROSINALITY_LAYER,
    "noise.weight": ("noise_strength", "scalar"),
    "activate.bias": ("bias", "vector"),
    "conv.blur.kernel": ("resample_filter", "same"),
}
_ROSINALITY_RGB: Final = {
    **_ROSINALITY_LAYER,
    "bias": ("bias", "vector"),
    "upsample.kernel": ("resample_filter", "same"),
}


def rosinality_generator(name: str) -> Translation:
    """Translate a name of that generator's state; filters are given as `...resample_filter`."""
    if match := re.fullmatch(r"style\.(\d{1,3})\.(weight|bias)", name):
        return (f"mapping.fc{int(match[1]) - 1}.{match[2]}", "same") if match[1] != "0" else None
    if name == "input.input":
        return "synthesis.b4.const", "first"
    if match := re.fullmatch(r"noises\.noise_(\d{1,2})", name):
        return _noise(int(match[1])), "map"
    if match := re.fullmatch(r"(conv1|convs\.(\d{1,2}))\.(.+)", name):
        index = int(match[2] or -1)  # conv1 comes before convs.0
        return _named(f"synthesis.b{8 << index // 2 if index >= 0 else 4}.conv{index % 2}", _ROSINALITY_CONV, match[3])
    if match := re.fullmatch(r"(to_rgb1|to_rgbs\.(\d{1,2}))\.(.+)", name):
        return _named(f"synthesis.b{8 << int(match[2]) if match[2] else 4}.torgb", _ROSINALITY_RGB, match[3])
    return None


def _named(layer: str, known: dict[str, tuple[str, str]], name: str) -> Translation:
    if name not in known:
        return None
    parameter, transform = known[name]
    return f"{layer}.{parameter}", transform


def rosinality_discriminator(name: str, resolution: int) -> Translation:
    """Translate a name of that discriminator's state; filters are given as `...resample_filter`."""
    fixed = {
        "convs.0.0.weight": f"b{resolution}.fromrgb.weight",
        "convs.0.1.bias": f"b{resolution}.fromrgb.bias",
        "final_conv.0.weight": "b4.conv.weight",
        "final_conv.1.bias": "b4.conv.bias",
        "final_linear.0.weight": "b4.fc.weight",
        "final_linear.0.bias": "b4.fc.bias",
        "final_linear.1.weight": "b4.out.weight",
        "final_linear.1.bias": "b4.out.bias",
    }
    if name in fixed:
        return fixed[name], "vector" if name in ("convs.0.1.bias", "final_conv.1.bias") else "same"
    known = {
        "conv1.0.weight": ("conv0.weight", "same"),
        "conv1.1.bias": ("conv0.bias", "vector"),
        "conv2.0.kernel": ("conv1.resample_filter", "same"),
        "conv2.1.weight": ("conv1.weight", "same"),
        "conv2.2.bias": ("conv1.bias", "vector"),
        "skip.0.kernel": ("skip.resample_filter", "same"),
        "skip.1.weight": ("skip.weight", "same"),
    }
    match = re.fullmatch(r"convs\.([1-9]\d?)\.(.+)", name)
    if not match or not resolution >> (int(match[1]) - 1) >= 8:
        return None
    return _named(f"b{resolution >> (int(match[1]) - 1)}", known, match[2])
