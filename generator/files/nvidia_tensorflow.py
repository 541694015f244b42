"""Networks of the TensorFlow code of StyleGAN2 and StyleGAN2-ADA; those of StyleGAN are handed on."""

import re
from collections.abc import Mapping
from typing import Any, Final

import generator.stylegan2 as stylegan2
from generator.errors import NetworkFileError
from generator.files import nvidia_tensorflow_stylegan
from generator.files.checkpoints import Checkpoint
from generator.files.pickles.records import NetworkRecord, plain
from generator.files.state import LoadedState, Part, assemble
from generator.files.tensorflow_networks import (
    Variables,
    claims_of,
    components_of,
    group_size,
    label_embedding,
    mapping_hints,
    mapping_name,
    noise_name,
    number,
    own_variables,
    put,
    settings_of,
    state_of,
    taps,
    top_resolution,
    word,
)
from generator.files.weights import DROPPED, Intake, Translation, Weight
from generator.tensors import Hints

__all__ = ["FAMILY", "read", "recognises"]

FAMILY: Final = "stylegan2-tensorflow"
VERSIONS: Final = (2, 3, 4, 5)
STYLEGAN2_VERSIONS: Final = (4, 5)  # which may hold StyleGAN too: StyleGAN2's configuration A

# settings that real files carry and that change nothing here
_IGNORED: Final = frozenset({"resolution_h", "resolution_w", "randomize_noise"})
_FILTER: Final = (1.0, 3.0, 3.0, 1.0)

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


def recognises(checkpoint: Checkpoint) -> bool:
    """Tell whether what a pickle holds is what this code writes: the networks G, D and Gs, or some of them."""
    top = checkpoint.top
    items = [item for item in (top if isinstance(top, tuple) else (top,)) if item is not None]
    return 0 < len(items) <= 3 and all(isinstance(item, NetworkRecord) for item in items)


def _networks(top: object) -> tuple[NetworkRecord, NetworkRecord | None, tuple[str, ...]]:
    """Return the generator to be taken, the discriminator, and what is to be said of the choice.

    Raises:
        NetworkFileError: There is no generator.
    """
    items = top if isinstance(top, tuple) else (top,)
    if len(items) == 3:  # in the order in which the code writes them
        other, critic, averaged = items
    else:  # a generator is made of other networks
        found = [item for item in items if item is not None]
        whole = [item for item in found if state_of(item).get("components")]
        critic = next((item for item in found if item not in whole), None)
        other, averaged = None, whole[-1] if whole else None
    generator = other if averaged is None else averaged
    if generator is None:
        raise NetworkFileError("this file holds a discriminator but no generator (no 'Gs' and no 'G')")
    notes = ("the file has no averaged generator 'Gs'; 'G' is used",) if averaged is None else ()
    return generator, critic, notes


def _version(networks: tuple[NetworkRecord, ...]) -> int:
    """Return the version that the code which wrote the file gave its networks; 2 and 3 are the first StyleGAN's.

    Raises:
        NetworkFileError: They have none, or several.
    """
    versions = [state_of(network).get("version") for network in networks]
    first = versions[0]
    if type(first) is not int or not 0 <= first < 1000 or any(version != first for version in versions):
        raise NetworkFileError("damaged: its TensorFlow networks do not have one version")
    return first


def read(checkpoint: Checkpoint, file_size: int) -> LoadedState:
    """Turn an interpreted file into a network: `Gs`, the averaged generator, or else `G`; and `D`, where it is there.

    Args:
        checkpoint: The networks G, D and Gs, of which some may be None; or one of them alone.
        file_size: Bytes of the file.

    Raises:
        NetworkFileError: They are of another architecture, or do not fit together.
    """
    first, second, notes = _networks(checkpoint.top)
    version = _version((first,) if second is None else (first, second))
    if version not in VERSIONS:
        raise NetworkFileError(f"unsupported: TensorFlow network version {version}; supported are 2 to 5")
    generator, discriminator = state_of(first), None if second is None else state_of(second)
    intake = Intake(file_size)
    kwargs = {"Gs": settings_of(generator)} | ({} if discriminator is None else {"D": settings_of(discriminator)})
    odd = sorted(_IGNORED & {key for values in kwargs.values() for key in values})
    warnings = [*notes, *([f"ignored the settings {', '.join(odd)}"] if odd else [])]
    parts = _generator_variables(generator, intake)
    critic = None if discriminator is None else own_variables(discriminator, intake)
    if start := _start(parts["synthesis"]):
        parts["synthesis"] = _by_resolution(parts["synthesis"], start)
        critic = None if critic is None else _by_resolution(critic, start)
        for values in kwargs.values():
            values.pop("resolution", None)  # which of the two sides it is differs
    settings = {"version": version, **{name: plain(values) for name, values in kwargs.items()}}
    if nvidia_tensorflow_stylegan.is_stylegan(parts["synthesis"]):
        return nvidia_tensorflow_stylegan.read(parts, critic, kwargs, settings, warnings)
    if version not in STYLEGAN2_VERSIONS:
        raise NetworkFileError(f"unsupported: a TensorFlow network of version {version} that is no StyleGAN")
    return assemble(
        stylegan2,
        _generator(parts, kwargs["Gs"]),
        None if critic is None else _discriminator(critic, kwargs["D"]),
        family=FAMILY,
        settings=settings,
        warnings=tuple(warnings),
    )


def _generator_variables(network: Mapping[Any, Any], intake: Intake) -> dict[str, dict[str, Weight]]:
    """Return the arrays of a generator and its two components."""
    components = dict(components_of(network))
    if set(components) != {"", "mapping", "synthesis"}:
        raise NetworkFileError("unsupported: its generator is not made of a mapping and a synthesis network")
    return {name: own_variables(component, intake) for name, component in components.items()}


def _start(variables: Variables) -> tuple[int, int] | None:
    """Return height and width of a constant that is not square, by which forks name their layers: 3x4, 6x8, ..."""
    for name in variables:
        match = re.fullmatch(r"(\d{1,3})x(\d{1,3})/Const/const", name)
        if match and match[1] != match[2]:
            return int(match[1]), int(match[2])
    return None


def _by_resolution(variables: Variables, start: tuple[int, int]) -> dict[str, Weight]:
    """Rename layers as those of a square network: 4x4, 8x8, ..."""
    names = {f"{start[0] << i}x{start[1] << i}": f"{4 << i}x{4 << i}" for i in range(16)}
    renamed: dict[str, Weight] = {}
    for name, item in variables.items():
        size, slash, layer = name.partition("/")
        renamed[f"{names.get(size, size)}{slash}{layer}"] = item
    return renamed


def _generator(parts: Mapping[str, Variables], kwargs: Mapping[str, Any]) -> Part:
    weights: dict[str, Weight] = {}
    for name, item in parts[""].items():
        own: dict[str, Translation] = {"lod": DROPPED, "dlatent_avg": ("mapping.w_avg", "same")}
        put(weights, item, own.get(name))
    for name, item in parts["mapping"].items():
        put(weights, item, mapping_name(name))
    resolution = top_resolution(parts["synthesis"])
    for name, item in parts["synthesis"].items():
        put(weights, item, _synthesis_name(name, resolution))
    hints = Hints(
        activation=word(kwargs, "nonlinearity"),
        conv_clamp=number(kwargs, "conv_clamp", None),
        resample_filter=taps(kwargs, "resample_kernel", _FILTER),
        claims=claims_of(kwargs),
        **mapping_hints(kwargs),
    )
    return Part(weights, hints)


def _discriminator(variables: Variables, kwargs: Mapping[str, Any]) -> Part:
    weights: dict[str, Weight] = {}
    resolution = top_resolution(variables)
    for name, item in variables.items():
        put(weights, item, _discriminator_name(name, resolution))
    labels = kwargs.get("label_size", 0)
    selects = type(labels) is int and labels > 0 and not any(name.startswith("mapping.") for name in weights)
    if selects and weights.get("b4.out.bias") is not None and weights["b4.out.bias"].array.shape != (labels,):
        raise NetworkFileError("refused: its settings and its tensors disagree about the number of labels")
    group, features = group_size(kwargs)
    hints = Hints(
        activation=word(kwargs, "nonlinearity"),
        conv_clamp=number(kwargs, "conv_clamp", None),
        resample_filter=taps(kwargs, "resample_kernel", _FILTER),
        lr_multiplier=number(kwargs, "mapping_lrmul", 0.1),
        mbstd_group_size=group or None,
        claims=claims_of(kwargs) | {"mbstd_channels": features},
    )
    return Part(weights, hints, c_dim=labels if selects else None)


def _synthesis_name(name: str, resolution: int) -> Translation:
    """Translate the name of a variable of G_synthesis_stylegan2 or, in rows B to D, G_synthesis_stylegan_revised."""
    if name == "lod":
        return DROPPED
    if match := re.fullmatch(r"noise(\d{1,2})", name):
        return noise_name(int(match[1])), "map"
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


def _discriminator_name(name: str, resolution: int) -> Translation:
    """Translate the name of a variable of D_stylegan2, or, in rows B to D, D_stylegan."""
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
    return label_embedding(name)
