"""Networks of rosinality's stylegan2-pytorch: converted and training checkpoints."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import generator.stylegan2 as stylegan2
from generator.errors import NetworkFileError, escaped
from generator.files.pickles.records import plain
from generator.files.state import LoadedState, Part, assemble
from generator.files.tensorflow_networks import noise_name
from generator.files.weights import Intake, Translation, Weight, translate
from generator.tensors import Hints

__all__ = ["FAMILY", "read", "recognises"]

FAMILY: Final = "rosinality"

_LAYER: Final = {
    "conv.weight": ("weight", "first"),
    "conv.modulation.weight": ("affine.weight", "same"),
    "conv.modulation.bias": ("affine.bias", "same"),
}
_CONV: Final = {
    **_LAYER,
    "noise.weight": ("noise_strength", "scalar"),
    "activate.bias": ("bias", "vector"),
    "conv.blur.kernel": ("resample_filter", "same"),
}
_RGB: Final = {
    **_LAYER,
    "bias": ("bias", "vector"),
    "upsample.kernel": ("resample_filter", "same"),
}


def recognises(top: object) -> bool:
    """Tell whether what a torch file holds is one of this code's checkpoints."""
    return isinstance(top, dict) and "g_ema" in top


def read(top: Mapping[Any, Any], file_size: int) -> LoadedState:
    """Turn an interpreted file into a network: `g_ema` and `d`, with `latent_avg` where it has one.

    Args:
        top: The dictionary that the file holds.
        file_size: Bytes of the file.

    Raises:
        NetworkFileError: It holds no such network, or one that does not fit together.
    """
    intake = Intake(file_size)
    weights = _translated(top.get("g_ema"), "g_ema", _generator_name, intake)
    if top.get("latent_avg") is not None:
        weights["mapping.w_avg"] = translate(intake.weight(top["latent_avg"], "latent_avg"), "same")
    discriminator = None
    if top.get("d") is not None:
        blocks = sum(isinstance(key, str) and key.endswith(".conv1.0.weight") for key in _state(top["d"], "d"))
        resolution = 4 << min(blocks, 16)
        tensors = _translated(top["d"], "d", lambda name: _discriminator_name(name, resolution), intake)
        discriminator = Part(tensors, Hints())
    settings: dict[str, Any] = {"entries": sorted(escaped(str(key)) for key in list(top)[:50])}
    if top.get("args") is not None:
        settings["args"] = plain(top["args"])
    missing = "mapping.w_avg" not in weights
    note = "the file has no mean latent; it is the mean of 10000 latents mapped with a fixed seed"
    return assemble(
        stylegan2,
        Part(weights, Hints()),
        discriminator,
        family=FAMILY,
        settings=settings,
        optional=frozenset({"mapping.w_avg"}),
        warnings=(note,) if missing else (),
    )


def _state(state: object, entry: str) -> Mapping[Any, Any]:
    if not isinstance(state, dict) or not state:
        raise NetworkFileError(f"damaged: its entry '{entry}' is not a dictionary of tensors")
    return state


def _translated(
    state: object, entry: str, translation: Callable[[str], Translation], intake: Intake
) -> dict[str, Weight]:
    """Return the tensors of one network under our names."""
    weights: dict[str, Weight] = {}
    for key, record in _state(state, entry).items():
        found = translation(key) if isinstance(key, str) else None
        if found is None:
            shown = escaped(str(key))
            raise NetworkFileError(
                f"unsupported: '{entry}' holds '{shown}', which rosinality's StyleGAN2 does not have"
            )
        name, transform = found
        if name in weights:
            raise NetworkFileError(f"damaged: '{entry}' holds '{escaped(key)}' twice")
        weights[name] = translate(intake.weight(record, f"{entry}.{key}"), transform)
    return weights


def _generator_name(name: str) -> Translation:
    """Translate a name of the generator's state; filters are given as `...resample_filter`."""
    if match := re.fullmatch(r"style\.(\d{1,3})\.(weight|bias)", name):
        return (f"mapping.fc{int(match[1]) - 1}.{match[2]}", "same") if match[1] != "0" else None
    if name == "input.input":
        return "synthesis.b4.const", "first"
    if match := re.fullmatch(r"noises\.noise_(\d{1,2})", name):
        return noise_name(int(match[1])), "map"
    if match := re.fullmatch(r"(conv1|convs\.(\d{1,2}))\.(.+)", name):
        index = int(match[2] or -1)  # conv1 comes before convs.0
        return _named(f"synthesis.b{8 << index // 2 if index >= 0 else 4}.conv{index % 2}", _CONV, match[3])
    if match := re.fullmatch(r"(to_rgb1|to_rgbs\.(\d{1,2}))\.(.+)", name):
        return _named(f"synthesis.b{8 << int(match[2]) if match[2] else 4}.torgb", _RGB, match[3])
    return None


def _named(layer: str, known: dict[str, tuple[str, str]], name: str) -> Translation:
    if name not in known:
        return None
    parameter, transform = known[name]
    return f"{layer}.{parameter}", transform


def _discriminator_name(name: str, resolution: int) -> Translation:
    """Translate a name of the discriminator's state; filters are given as `...resample_filter`."""
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
