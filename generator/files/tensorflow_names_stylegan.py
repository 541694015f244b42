"""Names of tensors in TensorFlow files of the first StyleGAN, and how each becomes one of ours."""

import re
from collections.abc import Collection
from typing import Final

from generator.files.tensorflow_names import DROPPED, Translation

__all__ = ["is_stylegan", "stylegan_discriminator", "stylegan_synthesis"]

# Of the layers, and of the input, which is a constant or a dense layer: all have a bias, where StyleGAN2's has none.
_INPUTS: Final = ("Const", "Dense")
_LAYERS: Final = {"Conv": "conv1", "Conv0_up": "conv0", "Conv1": "conv1"} | dict.fromkeys(_INPUTS, "input")
_PARAMETERS: Final = {
    "bias": ("bias", "same"),
    "Noise/weight": ("noise_strength", "same"),
    "StyleMod/weight": ("affine.weight", "transpose"),
    "StyleMod/bias": ("affine.bias", "same"),
}


def is_stylegan(names: Collection[str]) -> bool:
    """Say whether the names of a synthesis network's variables are those of the first StyleGAN."""
    return any(f"4x4/{layer}/bias" in names for layer in _INPUTS)


def stylegan_synthesis(name: str, resolution: int, turned_from: int) -> Translation:
    """Translate a variable of G_synthesis.

    Args:
        name: The variable.
        resolution: Of the images.
        turned_from: From this resolution up the kernels of `Conv0_up` are stored turned by 180 degrees. TensorFlow
            upsampled and convolved there in one transposed convolution, which convolves; below it repeated the
            pixels and ran the ordinary one, which correlates. Both took the weights as they are.
    """
    if name == "lod":
        return DROPPED
    if match := re.fullmatch(r"noise(\d{1,2})", name):
        index = int(match[1])
        layer = "conv1" if index % 2 else "conv0" if index else "input"
        return f"synthesis.b{4 << index // 2}.{layer}.noise_const", "map"
    if match := re.fullmatch(r"ToRGB_lod(\d{1,2})/(weight|bias)", name):
        return f"synthesis.b{resolution >> int(match[1])}.torgb.{match[2]}", _transform(match[2])
    known = {
        "4x4/Const/const": ("synthesis.b4.const", "first"),
        "4x4/Dense/weight": ("synthesis.b4.dense.weight", "transpose"),
    }
    if name in known:
        return known[name]
    match = re.fullmatch(r"(\d{1,6})x\1/(Const|Dense|Conv|Conv0_up|Conv1)/(.+)", name)
    if not match or (match[2] in ("Conv0_up", "Conv1")) != (match[1] != "4"):
        return None
    layer = f"synthesis.b{match[1]}.{_LAYERS[match[2]]}"
    if match[3] == "weight" and match[2] not in _INPUTS:
        turned = match[2] == "Conv0_up" and int(match[1]) >= turned_from
        return f"{layer}.weight", "flipped filter" if turned else "filter"
    if match[3] not in _PARAMETERS:
        return None
    parameter, transform = _PARAMETERS[match[3]]
    return f"{layer}.{parameter}", transform


def stylegan_discriminator(name: str, resolution: int) -> Translation:
    """Translate a variable of D_basic."""
    if name == "lod":
        return DROPPED
    if match := re.fullmatch(r"FromRGB_lod(\d{1,2})/(weight|bias)", name):
        return f"b{resolution >> int(match[1])}.fromrgb.{match[2]}", _transform(match[2])
    if match := re.fullmatch(r"4x4/Dense([01])/(weight|bias)", name):
        layer = "fc" if match[1] == "0" else "out"
        return f"b4.{layer}.{match[2]}", "transpose" if match[2] == "weight" else "same"
    if match := re.fullmatch(r"(\d{1,6})x\1/(Conv0|Conv1_down|Conv)/(weight|bias)", name):
        layer = {"Conv1_down": "conv1"}.get(match[2], match[2].lower())
        return f"b{match[1]}.{layer}.{match[3]}", _transform(match[3])
    return None


def _transform(parameter: str) -> str:
    return "filter" if parameter == "weight" else "same"
