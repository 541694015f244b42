"""Networks of the TensorFlow code of StyleGAN2 and StyleGAN2-ADA; those of StyleGAN are handed on."""

from collections.abc import Mapping
from typing import Any, Final

from generator.errors import NetworkFileError
from generator.files import nvidia_tensorflow_stylegan
from generator.files.pickles.records import NetworkRecord, plain
from generator.files.state import LoadedState, Part, assemble
from generator.files.tensorflow_names import (
    DROPPED,
    Translation,
    tensorflow_discriminator,
    tensorflow_mapping,
    tensorflow_synthesis,
)
from generator.files.tensorflow_names_stylegan import is_stylegan
from generator.files.tensorflow_networks import (
    claims_of,
    components_of,
    group_size,
    number,
    own_variables,
    put,
    settings_of,
    state_of,
    taps,
    top_resolution,
    word,
)
from generator.files.weights import Intake, Weight
from generator.tensors import Hints

__all__ = ["FAMILY", "VERSIONS", "network_version", "read"]

FAMILY: Final = "stylegan2-tensorflow"
VERSIONS: Final = (2, 3, 4, 5)
STYLEGAN2_VERSIONS: Final = (4, 5)  # which may hold StyleGAN too: StyleGAN2's configuration A

# settings that real files carry and that change nothing here
_IGNORED: Final = frozenset({"resolution_h", "resolution_w", "randomize_noise"})
_FILTER: Final = (1.0, 3.0, 3.0, 1.0)

Variables = Mapping[str, Weight]


def network_version(networks: tuple[NetworkRecord, ...]) -> int:
    """Return the version that the code which wrote the file gave its networks: 2 or 3 is StyleGAN's first version.

    Raises:
        NetworkFileError: They have none, or several.
    """
    versions = [state_of(network).get("version") for network in networks]
    first = versions[0]
    if type(first) is not int or not 0 <= first < 1000 or any(version != first for version in versions):
        raise NetworkFileError("damaged: its TensorFlow networks do not have one version")
    return first


def read(networks: tuple[NetworkRecord, ...], file_size: int) -> LoadedState:
    """Turn an interpreted file into a network: `Gs`, the averaged generator, and `D`.

    Args:
        networks: G, D and Gs.
        file_size: Bytes of the file.

    Raises:
        NetworkFileError: They are of another architecture, or do not fit together.
    """
    _, discriminator, generator = (state_of(network) for network in networks)
    intake = Intake(file_size)
    kwargs = {name: settings_of(network) for name, network in (("Gs", generator), ("D", discriminator))}
    odd = sorted(_IGNORED & (kwargs["Gs"].keys() | kwargs["D"].keys()))
    warnings = [f"ignored the settings {', '.join(odd)}"] if odd else []
    parts = _generator_variables(generator, intake)
    critic = own_variables(discriminator, intake)
    settings = {"version": generator["version"], **{name: plain(values) for name, values in kwargs.items()}}
    if is_stylegan(parts["synthesis"]):
        return nvidia_tensorflow_stylegan.read(parts, critic, kwargs, settings, warnings)
    if generator["version"] not in STYLEGAN2_VERSIONS:
        version = generator["version"]
        raise NetworkFileError(f"unsupported: a TensorFlow network of version {version} that is no StyleGAN")
    return assemble(
        _generator(parts, kwargs["Gs"]),
        _discriminator(critic, kwargs["D"]),
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


def _generator(parts: Mapping[str, Variables], kwargs: Mapping[str, Any]) -> Part:
    weights: dict[str, Weight] = {}
    for name, item in parts[""].items():
        own: dict[str, Translation] = {"lod": DROPPED, "dlatent_avg": ("mapping.w_avg", "same")}
        put(weights, item, own.get(name))
    for name, item in parts["mapping"].items():
        put(weights, item, tensorflow_mapping(name))
    resolution = top_resolution(parts["synthesis"])
    for name, item in parts["synthesis"].items():
        put(weights, item, tensorflow_synthesis(name, resolution))
    if kwargs.get("normalize_latents", True) is not True:
        raise NetworkFileError("unsupported: a mapping network that does not normalise its latents")
    beta = number(kwargs, "w_avg_beta", number(kwargs, "dlatent_avg_beta", 0.995))
    hints = Hints(
        activation=word(kwargs, "nonlinearity"),
        conv_clamp=number(kwargs, "conv_clamp", None),
        resample_filter=taps(kwargs, "resample_kernel", _FILTER),
        mapping_activation=word(kwargs, "mapping_nonlinearity"),
        lr_multiplier=number(kwargs, "mapping_lrmul", 0.01),
        w_avg_beta=0.995 if beta is None else beta,
        claims=claims_of(kwargs),
    )
    return Part(weights, hints)


def _discriminator(variables: Variables, kwargs: Mapping[str, Any]) -> Part:
    weights: dict[str, Weight] = {}
    resolution = top_resolution(variables)
    for name, item in variables.items():
        put(weights, item, tensorflow_discriminator(name, resolution))
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
