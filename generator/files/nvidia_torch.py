"""Networks of stylegan2-ada-pytorch, and of stylegan3 where it holds the StyleGAN2 architecture."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import generator.stylegan2 as stylegan2
from generator.errors import NetworkFileError, escaped
from generator.files.pickles.records import MAX_NAME, ModuleRecord, TensorRecord, plain
from generator.files.state import LoadedState, Part, assemble
from generator.files.weights import Intake, Weight
from generator.tensors import Hints

__all__ = ["FAMILY", "read", "recognises"]

FAMILY: Final = "stylegan2-ada-pytorch"
MAX_MODULES: Final = 1000
MAX_DEPTH: Final = 8

SUPPORTED: Final = frozenset(
    {
        "Conv2dLayer",
        "Discriminator",
        "DiscriminatorBlock",
        "DiscriminatorEpilogue",
        "FullyConnectedLayer",
        "Generator",
        "MappingNetwork",
        "MinibatchStdLayer",
        "SynthesisBlock",
        "SynthesisLayer",
        "SynthesisNetwork",
        "ToRGBLayer",
    }
)
# their word -> ours, for what the tensors must agree with
_CLAIMS: Final = {
    "architecture": "architecture",
    "c_dim": "c_dim",
    "channel_base": "channel_base",
    "channel_max": "channel_max",
    "embed_features": "embed_dim",
    "img_channels": "img_channels",
    "img_resolution": "img_resolution",
    "layer_features": "layer_dim",
    "num_layers": "num_layers",
    "num_ws": "num_ws",
    "use_noise": "use_noise",
    "w_dim": "w_dim",
    "z_dim": "z_dim",
}


def recognises(top: object) -> bool:
    """Tell whether what a pickle holds is a dictionary of this code's modules."""
    return isinstance(top, dict) and any(isinstance(top.get(key), ModuleRecord) for key in ("G_ema", "G", "D"))


def read(top: Mapping[Any, Any], file_size: int) -> LoadedState:
    """Turn an interpreted file into a network: `G_ema`, else `G`, and `D`.

    Args:
        top: The dictionary that the pickle holds.
        file_size: Bytes of the file.

    Raises:
        NetworkFileError: It holds no such network, or one that does not fit together.
    """
    root = top.get("G_ema") or top.get("G")
    if not isinstance(root, ModuleRecord):
        what = "a discriminator but no generator" if top.get("D") is not None else "no generator"
        raise NetworkFileError(f"this file holds {what} (no 'G_ema' and no 'G')")
    intake = Intake(file_size)
    generator = dict(_walk(root, "Generator"))
    warnings = () if top.get("G_ema") else ("the file has no averaged generator 'G_ema'; 'G' is used",)
    settings: dict[str, Any] = {"G": plain(root.state.get("_init_kwargs"))}
    discriminator = None
    found = top.get("D")
    if found is not None:
        if not isinstance(found, ModuleRecord):
            raise NetworkFileError(f"damaged: its entry 'D' is a {type(found).__name__}, not a discriminator")
        modules = dict(_walk(found, "Discriminator"))
        discriminator = _discriminator(modules, intake)
        settings["D"] = plain(found.state.get("_init_kwargs"))
    if top.get("training_set_kwargs") is not None:
        settings["training_set_kwargs"] = plain(top["training_set_kwargs"])
    settings["entries"] = sorted(escaped(str(key)) for key in list(top)[:50])
    return assemble(
        stylegan2, _generator(generator, intake), discriminator, family=FAMILY, settings=settings, warnings=warnings
    )


def _walk(root: ModuleRecord, class_name: str) -> Iterator[tuple[str, ModuleRecord]]:
    """Yield every module with its dotted name, each once.

    Raises:
        NetworkFileError: A class is not one of StyleGAN2's, or modules are shared or nested without end.
    """
    if root.class_name != class_name:
        raise NetworkFileError(f"unsupported: class '{escaped(root.class_name)}' where a {class_name} should be")
    waiting: list[tuple[str, object, int]] = [("", root, 0)]
    seen: set[int] = set()
    while waiting:
        name, module, depth = waiting.pop()
        if not isinstance(module, ModuleRecord):
            raise NetworkFileError(f"unsupported: '{escaped(name)}' is not one of StyleGAN2's modules")
        if module.class_name == "SynthesisInput":
            raise NetworkFileError("StyleGAN3 (alias-free) networks are not supported; StyleGAN2 networks are")
        if module.class_name not in SUPPORTED:
            supported = ", ".join(sorted(SUPPORTED))
            raise NetworkFileError(f"unsupported: class '{escaped(module.class_name)}'; supported are {supported}")
        if len(name) > MAX_NAME:
            raise NetworkFileError(f"refused: a module's name has {len(name)} characters")
        if id(module) in seen or len(seen) > MAX_MODULES or depth > MAX_DEPTH:
            raise NetworkFileError(f"refused: '{escaped(name)}' is shared, or modules are nested without end")
        seen.add(id(module))
        yield name, module
        children = _named(module.state.get("_modules"))
        waiting += [(f"{name}.{key}".lstrip("."), child, depth + 1) for key, child in reversed(children)]


def _named(values: object) -> list[tuple[str, Any]]:
    """Return the items of a dictionary of parameters, buffers or modules."""
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise NetworkFileError("damaged: a module's tensors or parts are not listed by name")
    return [(key, value) for key, value in values.items() if value is not None]


def _weights(modules: Mapping[str, ModuleRecord], intake: Intake) -> dict[str, Weight]:
    """Return all parameters and buffers; frozen weights are buffers."""
    weights = {}
    for prefix, module in modules.items():
        for group in ("_parameters", "_buffers"):
            for key, record in _named(module.state.get(group)):
                name = f"{prefix}.{key}".lstrip(".")
                if not isinstance(record, TensorRecord):
                    raise NetworkFileError(f"damaged: '{escaped(name)}' is a {type(record).__name__}, not a tensor")
                weights[name] = intake.weight(record, name)
    return weights


def _attribute(modules: Mapping[str, ModuleRecord], key: str, kinds: tuple[type, ...], default: Any) -> Any:
    """Return the one value that an attribute has in all these modules."""
    values = [module.state.get(key, default) for module in modules.values()]
    if any(value is not None and type(value) not in kinds for value in values):
        raise NetworkFileError(f"unsupported: a layer's '{key}' is not one of {', '.join(k.__name__ for k in kinds)}")
    if len(set(values)) > 1:
        raise NetworkFileError(f"unsupported: its layers differ in '{key}'")
    return values[0] if values else default


def _claims(*modules: ModuleRecord | None) -> dict[str, Any]:
    """Collect what constructor arguments and attributes say about the architecture, under our names.

    Raises:
        NetworkFileError: Two of them disagree.
    """
    sources: list[object] = []
    for module in modules:
        if module is not None:
            arguments = module.state.get("_init_kwargs")
            sources += [module.state, arguments]
            if isinstance(arguments, dict):
                sources += [arguments.get("mapping_kwargs"), arguments.get("synthesis_kwargs")]
    claims: dict[str, Any] = {}
    for source in sources:
        for key, name in _CLAIMS.items():
            value = source.get(key) if isinstance(source, dict) else None
            if type(value) in (bool, int, float, str) and claims.setdefault(name, value) != value:
                raise NetworkFileError(f"refused: its settings disagree about '{name}'")
    return claims


def _generator(modules: Mapping[str, ModuleRecord], intake: Intake) -> Part:
    layers = {name: module for name, module in modules.items() if module.class_name == "SynthesisLayer"}
    clamped = layers | {name: module for name, module in modules.items() if module.class_name == "ToRGBLayer"}
    dense = {name: module for name, module in modules.items() if name.startswith("mapping.fc")}
    mapping, synthesis = modules.get("mapping"), modules.get("synthesis")
    if mapping is None or synthesis is None:
        raise NetworkFileError("damaged: its generator lacks the mapping or the synthesis network")
    beta = _attribute({"": mapping}, "w_avg_beta", (float, int), None)
    hints = Hints(
        activation=_attribute(layers, "activation", (str,), "lrelu"),
        conv_clamp=_attribute(clamped, "conv_clamp", (float, int), None),
        mapping_activation=_attribute(dense, "activation", (str,), "lrelu"),
        lr_multiplier=_attribute(dense, "bias_gain", (float, int), 0.01),
        w_avg_beta=0.995 if beta is None else beta,
        claims=_claims(modules[""], mapping, synthesis),
    )
    return Part(_weights(modules, intake), hints)


def _discriminator(modules: Mapping[str, ModuleRecord], intake: Intake) -> Part:
    # "skip" convolutions are linear, and neither they nor the colour layer at 4 px are ever clamped
    layers = {
        name: module
        for name, module in modules.items()
        if module.class_name == "Conv2dLayer" and not name.endswith(".skip") and name != "b4.fromrgb"
    }
    dense = {name: module for name, module in modules.items() if name.startswith("mapping.fc")}
    deviation = {name: module for name, module in modules.items() if module.class_name == "MinibatchStdLayer"}
    hints = Hints(
        activation=_attribute(layers, "activation", (str,), "lrelu"),
        conv_clamp=_attribute(layers, "conv_clamp", (float, int), None),
        lr_multiplier=_attribute(dense, "bias_gain", (float, int), 0.01),
        mbstd_group_size=_attribute(deviation, "group_size", (int,), 4),
        claims=_claims(modules[""], modules.get("b4")),
    )
    return Part(_weights(modules, intake), hints)
