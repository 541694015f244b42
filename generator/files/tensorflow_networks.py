"""What the records of TensorFlow networks hold, whatever the family: components, settings, variables, names."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from generator.errors import NetworkFileError, escaped
from generator.files.pickles.records import NetworkRecord
from generator.files.weights import DROPPED, Intake, Translation, Weight, translate

__all__ = [
    "Variables",
    "claims_of",
    "components_of",
    "group_size",
    "label_embedding",
    "mapping_hints",
    "mapping_name",
    "noise_name",
    "number",
    "own_variables",
    "put",
    "settings_of",
    "state_of",
    "taps",
    "top_resolution",
    "word",
]

Variables = Mapping[str, Weight]
"""The variables of a network or of a part of one, by their names in TensorFlow."""

MAX_COMPONENTS: Final = 16

# their setting -> ours, for the settings that the tensors must agree with
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
    "use_styles": "use_styles",
}


def state_of(network: object) -> dict[Any, Any]:
    """Return the state of a record of a network."""
    if not isinstance(network, NetworkRecord) or network.state is None:
        raise NetworkFileError("damaged: a TensorFlow network without its state")
    return network.state


def settings_of(network: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the settings of a network, with those of its components where it has none itself."""
    result: dict[str, Any] = {}
    for _, state in components_of(network):
        kwargs = state.get("static_kwargs")
        if not isinstance(kwargs, dict) or not all(isinstance(key, str) for key in kwargs):
            raise NetworkFileError("damaged: a TensorFlow network without its settings")
        result = kwargs | result
    return result


def components_of(network: Mapping[Any, Any]) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Yield a network and its components: mapping and synthesis. They have none themselves."""
    yield "", network
    # version 2 leaves an empty list out
    components = network.get("components", {} if network.get("version") == 2 else None)
    if not isinstance(components, dict) or len(components) > MAX_COMPONENTS:
        raise NetworkFileError("damaged: a TensorFlow network without its list of components")
    for name, component in components.items():
        if not isinstance(name, str) or state_of(component).get("components"):
            raise NetworkFileError("unsupported: a TensorFlow network whose components have components")
        yield name, state_of(component)


def own_variables(network: Mapping[Any, Any], intake: Intake) -> dict[str, Weight]:
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


def mapping_hints(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a network's settings say about its mapping network and no tensor tells, by the names of `Hints`.

    Raises:
        NetworkFileError: It does not normalise its latents.
    """
    if kwargs.get("normalize_latents", True) is not True:
        raise NetworkFileError("unsupported: a mapping network that does not normalise its latents")
    beta = number(kwargs, "w_avg_beta", number(kwargs, "dlatent_avg_beta", 0.995))
    return {
        "mapping_activation": word(kwargs, "mapping_nonlinearity"),
        "lr_multiplier": number(kwargs, "mapping_lrmul", 0.01),
        "w_avg_beta": 0.995 if beta is None else beta,
    }


def mapping_name(name: str) -> Translation:
    """Translate the name of a variable of G_mapping."""
    if match := re.fullmatch(r"Dense(\d{1,3})/(weight|bias)", name):
        return f"mapping.fc{match[1]}.{match[2]}", "transpose" if match[2] == "weight" else "same"
    if name == "LabelConcat/weight":
        return "mapping.label_matrix", "same"
    return label_embedding(name)


def label_embedding(name: str) -> Translation:
    """Translate the name of a variable of the layer that embeds labels."""
    known = {"LabelEmbed/weight": "transpose", "LabelEmbed/bias": "same"}
    return (f"mapping.embed.{name.removeprefix('LabelEmbed/')}", known[name]) if name in known else None


def noise_name(index: int) -> str:
    """Return our name of StyleGAN2's k-th noise map: there is one at 4 px, then two at each resolution."""
    return f"synthesis.b{1 << ((index + 5) // 2)}.conv{index % 2 ^ 1}.noise_const"


def put(weights: dict[str, Weight], item: Weight, translation: Translation, architecture: str = "StyleGAN2") -> None:
    """Add a weight under our name.

    Args:
        weights: The weights so far.
        item: The weight as the file has it.
        translation: Our name and its transform, see `Translation`.
        architecture: What the error calls the network.

    Raises:
        NetworkFileError: Our networks do not have it, have it already, or it has an unexpected shape.
    """
    if translation is None:
        raise NetworkFileError(f"unsupported: it holds '{escaped(item.source)}', which {architecture} does not have")
    if translation == DROPPED:
        return
    name, transform = translation
    if name in weights:
        raise NetworkFileError(f"damaged: '{escaped(item.source)}' and another variable are the same tensor")
    weights[name] = translate(item, transform)


def top_resolution(variables: Mapping[str, Weight]) -> int:
    """Return the largest r of the names `{r}x{r}/...`."""
    sizes = (name.split("x", 1)[0] for name in variables)
    return max((int(size) for size in sizes if size.isascii() and size.isdigit() and len(size) < 7), default=0)


def claims_of(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that tensors must agree with, under our names."""
    claims = {ours: kwargs[theirs] for theirs, ours in _CLAIMS.items() if theirs in kwargs}
    if kwargs.get("fmap_decay", 1) != 1 or kwargs.get("fmap_min", 1) != 1:
        claims.pop("channel_max", None)
    elif type(kwargs.get("fmap_base", 0)) is int and "fmap_base" in kwargs:
        claims["channel_base"] = 2 * kwargs["fmap_base"]  # theirs counts from the resolution above
    else:
        claims.pop("channel_max", None)
    return claims


def group_size(kwargs: Mapping[str, Any]) -> tuple[int, int]:
    """Return the group size and the number of features of the minibatch standard deviation."""
    features = number(kwargs, "mbstd_num_features", 1)
    group = number(kwargs, "mbstd_group_size", 4)
    if type(group) is not int or type(features) is not int:
        raise NetworkFileError("unsupported: a minibatch standard deviation whose sizes are not integers")
    return group, features


def number(kwargs: Mapping[str, Any], key: str, default: float | None) -> Any:
    """Return a setting that is a number, or None.

    Args:
        kwargs: Settings of a network.
        key: Name of the setting.
        default: Its value where there is none.

    Raises:
        NetworkFileError: It is something else.
    """
    value = kwargs.get(key, default)
    if value is not None and type(value) not in (int, float):
        raise NetworkFileError(f"unsupported: its setting '{key}' is not a number")
    return value


def word(kwargs: Mapping[str, Any], key: str) -> str:
    """Return a setting that names an activation."""
    value = kwargs.get(key, "lrelu")
    if not isinstance(value, str):
        raise NetworkFileError(f"unsupported: its setting '{key}' is not a name")
    return value


def taps(kwargs: Mapping[str, Any], key: str, default: tuple[float, ...]) -> tuple[float, ...]:
    """Return the taps of a filter; None stands for a single tap, which changes nothing.

    Args:
        kwargs: Settings of a network.
        key: Name of the setting.
        default: Its value where there is none.

    Raises:
        NetworkFileError: It is no short list of numbers.
    """
    value = kwargs.get(key, default)
    if value is None:
        return (1.0,)
    if not isinstance(value, list | tuple) or len(value) > 16 or any(type(tap) not in (int, float) for tap in value):
        raise NetworkFileError(f"unsupported: its setting '{key}' is not a short list of numbers")
    return tuple(float(tap) for tap in value)
