"""Networks of the TensorFlow code of the first StyleGAN: versions 2 and 3, and StyleGAN2's configuration A."""

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

import numpy as np

import generator.stylegan as stylegan
from generator.errors import NetworkFileError
from generator.files.state import LoadedState, Part, assemble
from generator.files.tensorflow_networks import (
    Variables,
    claims_of,
    group_size,
    mapping_hints,
    mapping_name,
    put,
    taps,
    top_resolution,
    word,
)
from generator.files.weights import DROPPED, Translation, Weight
from generator.settings import MAX_RESOLUTION
from generator.tensors import Hints

__all__ = ["FAMILY", "is_stylegan", "read"]

FAMILY: Final = "stylegan-tensorflow"
_NAME: Final = "StyleGAN"
_BLUR: Final = (1.0, 2.0, 1.0)
# From which resolution up each value of 'fused_scale' runs a transposed convolution.
_FUSED_FROM: Final = {"auto": 128, True: 8, False: 2 * MAX_RESOLUTION}
# What the published code generates with unless it is told otherwise.
_TRUNCATION: Final = {"truncation_psi": 0.7, "truncation_cutoff": 8}

# The input is a constant or a dense layer; it has a bias, as every layer has, where that of StyleGAN2 has none.
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


def read(
    parts: Mapping[str, Variables],
    critic: Variables | None,
    kwargs: Mapping[str, Mapping[str, Any]],
    settings: dict[str, Any],
    warnings: list[str],
) -> LoadedState:
    """Turn the arrays of a file into a network.

    Args:
        parts: Arrays of the averaged generator ("") and of its components "mapping" and "synthesis".
        critic: Arrays of the discriminator; None: the file has none.
        kwargs: Settings of "Gs" and "D".
        settings: Settings for `LoadedState`, to which the defaults for truncation are added.
        warnings: Warnings that are known already.

    Raises:
        NetworkFileError: They do not fit together, or to a StyleGAN.
    """
    settings = {**settings, "Gs": _TRUNCATION | settings["Gs"]}
    return assemble(
        stylegan,
        _generator(parts, kwargs["Gs"]),
        None if critic is None else _discriminator(critic, kwargs["D"]),
        family=FAMILY,
        settings=settings,
        warnings=(*warnings, *_growth(parts)),
    )


def _generator(parts: Mapping[str, Variables], kwargs: Mapping[str, Any]) -> Part:
    weights: dict[str, Weight] = {}
    for name, item in parts[""].items():
        own: dict[str, Translation] = {"lod": DROPPED, "dlatent_avg": ("mapping.w_avg", "same")}
        put(weights, item, own.get(name), _NAME)
    for name, item in parts["mapping"].items():
        put(weights, item, mapping_name(name), _NAME)
    resolution, fused_from = top_resolution(parts["synthesis"]), _fused_from(kwargs)
    for name, item in parts["synthesis"].items():
        put(weights, item, _synthesis_name(name, resolution, fused_from), _NAME)
    hints = _hints(kwargs, normalisation=_normalisation(kwargs), claims=_claims(kwargs), **mapping_hints(kwargs))
    return Part(weights, hints)


def _discriminator(variables: Variables, kwargs: Mapping[str, Any]) -> Part:
    weights: dict[str, Weight] = {}
    resolution = top_resolution(variables)
    for name, item in variables.items():
        put(weights, item, _discriminator_name(name, resolution), _NAME)
    labels = kwargs.get("label_size", 0)
    group, features = group_size(kwargs)
    claims = _claims(kwargs) | {"mbstd_channels": features if group > 1 else 0}
    hints = _hints(kwargs, mbstd_group_size=group if group > 1 else None, claims=claims)
    return Part(weights, hints, c_dim=labels if type(labels) is int and labels > 0 else None)


def _claims(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that tensors must agree with; not the widths, as files count 'fmap_base' in two ways."""
    claims = claims_of(kwargs)
    return {key: value for key, value in claims.items() if key not in ("channel_base", "channel_max")}


def _hints(kwargs: Mapping[str, Any], **others: Any) -> Hints:
    """Return what both networks' settings have in common, and the others."""
    if kwargs.get("use_wscale", True) is not True:
        raise NetworkFileError("unsupported: weights without an equalised learning rate (its setting 'use_wscale')")
    activation, blur = word(kwargs, "nonlinearity"), taps(kwargs, "blur_filter", _BLUR)
    return Hints(activation=activation, resample_filter=blur, **others)


def _fused_from(kwargs: Mapping[str, Any]) -> int:
    value = kwargs.get("fused_scale", "auto")
    if value is not True and value is not False and value != "auto":
        raise NetworkFileError("unsupported: its setting 'fused_scale' is not true, false or 'auto'")
    return _FUSED_FROM[value]


def _normalisation(kwargs: Mapping[str, Any]) -> str:
    chosen = [kwargs.get(f"use_{kind}_norm", kind == "instance") for kind in ("instance", "pixel")]
    if any(type(value) is not bool for value in chosen) or all(chosen):
        raise NetworkFileError("unsupported: its layers normalise over images and over pixels, or it cannot be told")
    return "instance" if chosen[0] else "pixel" if chosen[1] else "none"


def _growth(parts: Mapping[str, Variables]) -> tuple[str, ...]:
    """Return a warning about a network that was written while it grew."""
    item = parts[""].get("lod")
    lod = float(item.array.reshape(-1)[0]) if item is not None and item.array.size == 1 else 0.0
    if not np.isfinite(lod) or lod <= 0:
        return ()
    seen = top_resolution(parts["synthesis"]) >> min(int(np.floor(lod)), 16)
    return (f"it was written while it grew, at {seen} px (lod {lod:.4g}); layers above may not be trained",)


def _synthesis_name(name: str, resolution: int, turned_from: int) -> Translation:
    """Translate the name of a variable of G_synthesis.

    Args:
        name: The variable.
        resolution: Side of the images.
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


def _discriminator_name(name: str, resolution: int) -> Translation:
    """Translate the name of a variable of D_basic."""
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
