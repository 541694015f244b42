"""Networks of the TensorFlow code of StyleGAN2 and StyleGAN2-ADA."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from generator.errors import NetworkFileError
from generator.loaders.architecture import Hints
from generator.loaders.names import (
    DROPPED,
    Translation,
    tensorflow_discriminator,
    tensorflow_mapping,
    tensorflow_synthesis,
    translate,
)
from generator.loaders.records import NetworkRecord, escaped, plain
from generator.loaders.state import LoadedState, Part, assemble
from generator.loaders.weights import Intake, Weight

__all__ = ["FAMILY", "VERSIONS", "network_version", "read"]

FAMILY: Final = "stylegan2-tensorflow"
VERSIONS: Final = (4, 5)
MAX_COMPONENTS: Final = 16

# their setting -> ours, for those that the tensors must agree with
_CLAIMS: Final = {
    "architecture": "architecture",
    "dlatent_size": "w_dim",
    "fmap_max": "channel_max",
    "label_size": "c_dim",
    "latent_size": "z_dim",
    "mapping_layers": "num_layers",
    "num_channels": "img_channels",
    "resolution": "img_resolution",
    "use_noise": "use_noise",
}
# settings that real files carry and that change nothing here
_IGNORED: Final = frozenset({"resolution_h", "resolution_w", "randomize_noise"})


def network_version(networks: tuple[NetworkRecord, ...]) -> int:
    """Return the version that the code which wrote the file gave its networks: 2 or 3 is StyleGAN's first version.

    Raises:
        NetworkFileError: They have none, or several.
    """
    versions = [_state(network).get("version") for network in networks]
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
    _, discriminator, generator = (_state(network) for network in networks)
    intake = Intake(file_size)
    kwargs = {name: _kwargs(network) for name, network in (("Gs", generator), ("D", discriminator))}
    odd = sorted(_IGNORED & (kwargs["Gs"].keys() | kwargs["D"].keys()))
    return assemble(
        _generator(generator, kwargs["Gs"], intake),
        _discriminator(discriminator, kwargs["D"], intake),
        family=FAMILY,
        settings={"version": generator["version"], **{name: plain(values) for name, values in kwargs.items()}},
        warnings=(f"ignored the settings {', '.join(odd)}",) if odd else (),
    )


def _state(network: object) -> dict[Any, Any]:
    if not isinstance(network, NetworkRecord) or network.state is None:
        raise NetworkFileError("damaged: a TensorFlow network without its state")
    return network.state


def _kwargs(network: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the settings of a network, with those of its components where it has none itself."""
    result: dict[str, Any] = {}
    for _, state in _components(network):
        kwargs = state.get("static_kwargs")
        if not isinstance(kwargs, dict) or not all(isinstance(key, str) for key in kwargs):
            raise NetworkFileError("damaged: a TensorFlow network without its settings")
        result = kwargs | result
    return result


def _components(network: Mapping[Any, Any]) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Yield a network and its components: mapping and synthesis. They have none themselves."""
    yield "", network
    components = network.get("components")
    if not isinstance(components, dict) or len(components) > MAX_COMPONENTS:
        raise NetworkFileError("damaged: a TensorFlow network without its list of components")
    for name, component in components.items():
        if not isinstance(name, str) or _state(component).get("components"):
            raise NetworkFileError("unsupported: a TensorFlow network whose components have components")
        yield name, _state(component)


def _variables(network: Mapping[Any, Any], intake: Intake) -> dict[str, Weight]:
    """Return the arrays of one network, without its components', by their names."""
    variables = network.get("variables")
    if not isinstance(variables, list):
        raise NetworkFileError("damaged: a TensorFlow network without its list of variables")
    weights: dict[str, Weight] = {}
    for pair in variables:
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[0], str):
            raise NetworkFileError("damaged: a variable of a TensorFlow network is not a name and an array")
        if pair[0] in weights:
            raise NetworkFileError(f"damaged: it holds '{escaped(pair[0])}' twice")
        weights[pair[0]] = intake.weight(pair[1], pair[0])
    return weights


def _put(weights: dict[str, Weight], item: Weight, translation: Translation) -> None:
    """Add a weight under our name."""
    if translation is None:
        raise NetworkFileError(f"unsupported: it holds '{escaped(item.source)}', which StyleGAN2 does not have")
    if translation == DROPPED:
        return
    name, transform = translation
    if name in weights:
        raise NetworkFileError(f"damaged: '{escaped(item.source)}' and another variable are the same tensor")
    weights[name] = translate(item, transform)


def _resolution(variables: Mapping[str, Weight]) -> int:
    """Return the largest r of the names `{r}x{r}/...`."""
    sizes = (name.split("x", 1)[0] for name in variables)
    return max((int(size) for size in sizes if size.isascii() and size.isdigit() and len(size) < 7), default=0)


def _generator(network: Mapping[Any, Any], kwargs: Mapping[str, Any], intake: Intake) -> Part:
    weights: dict[str, Weight] = {}
    components = dict(_components(network))
    if set(components) != {"", "mapping", "synthesis"}:
        raise NetworkFileError("unsupported: its generator is not made of a mapping and a synthesis network")
    for name, item in _variables(components[""], intake).items():
        own: dict[str, Translation] = {"lod": DROPPED, "dlatent_avg": ("mapping.w_avg", "same")}
        _put(weights, item, own.get(name))
    for name, item in _variables(components["mapping"], intake).items():
        _put(weights, item, tensorflow_mapping(name))
    synthesis = _variables(components["synthesis"], intake)
    resolution = _resolution(synthesis)
    for name, item in synthesis.items():
        _put(weights, item, tensorflow_synthesis(name, resolution))
    if kwargs.get("normalize_latents", True) is not True:
        raise NetworkFileError("unsupported: a mapping network that does not normalise its latents")
    beta = _number(kwargs, "w_avg_beta", _number(kwargs, "dlatent_avg_beta", 0.995))
    hints = Hints(
        activation=_word(kwargs, "nonlinearity"),
        conv_clamp=_number(kwargs, "conv_clamp", None),
        resample_filter=_filter(kwargs),
        mapping_activation=_word(kwargs, "mapping_nonlinearity"),
        lr_multiplier=_number(kwargs, "mapping_lrmul", 0.01),
        w_avg_beta=0.995 if beta is None else beta,
        claims=_claims(kwargs),
    )
    return Part(weights, hints)


def _discriminator(network: Mapping[Any, Any], kwargs: Mapping[str, Any], intake: Intake) -> Part:
    weights: dict[str, Weight] = {}
    variables = _variables(network, intake)
    resolution = _resolution(variables)
    for name, item in variables.items():
        _put(weights, item, tensorflow_discriminator(name, resolution))
    labels = kwargs.get("label_size", 0)
    selects = type(labels) is int and labels > 0 and not any(name.startswith("mapping.") for name in weights)
    if selects and weights.get("b4.out.bias") is not None and weights["b4.out.bias"].array.shape != (labels,):
        raise NetworkFileError("refused: its settings and its tensors disagree about the number of labels")
    features = _number(kwargs, "mbstd_num_features", 1)
    group = _number(kwargs, "mbstd_group_size", 4)
    if type(group) is not int or type(features) is not int:
        raise NetworkFileError("unsupported: a minibatch standard deviation whose sizes are not integers")
    hints = Hints(
        activation=_word(kwargs, "nonlinearity"),
        conv_clamp=_number(kwargs, "conv_clamp", None),
        resample_filter=_filter(kwargs),
        lr_multiplier=_number(kwargs, "mapping_lrmul", 0.1),
        mbstd_group_size=group or None,
        claims=_claims(kwargs) | {"mbstd_channels": features},
    )
    return Part(weights, hints, c_dim=labels if selects else None)


def _claims(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that tensors must agree with, under our names."""
    claims = {ours: kwargs[theirs] for theirs, ours in _CLAIMS.items() if theirs in kwargs}
    if kwargs.get("fmap_decay", 1) != 1 or kwargs.get("fmap_min", 1) != 1:
        claims.pop("channel_max", None)
    elif type(kwargs.get("fmap_base", 0)) is int and "fmap_base" in kwargs:
        claims["channel_base"] = 2 * kwargs["fmap_base"]  # theirs counts from the resolution above
    else:
        claims.pop("channel_max", None)
    return claims


def _number(kwargs: Mapping[str, Any], key: str, default: float | None) -> Any:
    value = kwargs.get(key, default)
    if value is not None and type(value) not in (int, float):
        raise NetworkFileError(f"unsupported: its setting '{key}' is not a number")
    return value


def _word(kwargs: Mapping[str, Any], key: str) -> str:
    value = kwargs.get(key, "lrelu")
    if not isinstance(value, str):
        raise NetworkFileError(f"unsupported: its setting '{key}' is not a name")
    return value


def _filter(kwargs: Mapping[str, Any]) -> tuple[float, ...]:
    """Return the taps of `resample_kernel`; None stands for one tap, nearest neighbour."""
    taps = kwargs.get("resample_kernel", [1, 3, 3, 1])
    if taps is None:
        return (1.0,)
    if not isinstance(taps, list | tuple) or len(taps) > 16 or any(type(tap) not in (int, float) for tap in taps):
        raise NetworkFileError("unsupported: its setting 'resample_kernel' is not a short list of numbers")
    return tuple(float(tap) for tap in taps)
