"""Networks of NVIDIA's PyTorch code: stylegan2-ada-pytorch and stylegan3, which holds both architectures."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import generator.stylegan2 as stylegan2
import generator.stylegan3 as family_stylegan3
from generator.errors import NetworkFileError, escaped
from generator.families import Family
from generator.files import nvidia_torch_stylegan3 as stylegan3
from generator.files.checkpoints import Checkpoint, Network, as_module, tensors_or_parts
from generator.files.pickles.records import MAX_NAME, ModuleRecord, TensorRecord, kind_of, plain
from generator.files.state import LoadedState, Part, assemble, readable
from generator.files.weights import Intake, Weight, translated
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
    | stylegan3.MODULES
)
# Other people's networks in the same kind of file, by the class of the generator.
_OTHERS: Final = {
    "SuperresGenerator": "this is StyleGAN-XL, which stacks layers on StyleGAN3; StyleGAN2 and 3 are read",
    "TriPlaneGenerator": "this is EG3D, which renders a volume; StyleGAN2 and 3 are read",
}
_ROOTS: Final = ("G_ema", "G", "D")
_STATE_ONLY: Final = "a state dictionary does not tell clamp and activation: no clamp and lrelu are taken"
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


def recognises(checkpoint: Checkpoint) -> bool:
    """Tell whether what a file holds is one of this code's modules, a checkpoint of them, or of their state."""
    found = any(
        isinstance(one.value, ModuleRecord) or one.role in _ROOTS for one in checkpoint.networks if _is_module(one)
    )
    return found or bool(checkpoint.generators(_fits))


def _is_module(network: Network) -> bool:
    return as_module(network.value) is not None


def _fits(network: Network) -> bool:
    module = as_module(network.value)
    if module is None:
        names = network.tensors
        return "synthesis.b4.const" in names or stylegan3.is_stylegan3(names)
    parts = module.state.get("_modules")
    return module.class_name == "Generator" and isinstance(parts, dict) and {"mapping", "synthesis"} <= parts.keys()


def read(checkpoint: Checkpoint, file_size: int) -> LoadedState:
    """Turn an interpreted file into a network: `G_ema`, else `G`, and `D`; or the one generator that it is.

    Args:
        checkpoint: What the file holds.
        file_size: Bytes of the file.

    Raises:
        NetworkFileError: It holds no such network, or one that does not fit together.
    """
    intake = Intake(file_size)
    generators = checkpoint.generators(_fits) or checkpoint.generators(_is_module)
    if not generators:
        beside = any(one.role == "D" for one in checkpoint.networks)
        what = "a discriminator but no generator" if beside else "no generator"
        raise NetworkFileError(f"this file holds {what} (no 'G_ema' and no 'G')")
    taken = generators[0]
    settings = checkpoint.settings
    module = as_module(taken.value)
    if module is not None:
        settings |= {"G": plain(module.state.get("_init_kwargs"))}
    architecture, family, generator, notes = _read_generator(taken, intake)
    discriminator: Part | None = None
    left_out: tuple[str, ...] = ()
    critic = checkpoint.discriminator(taken)
    if critic is not None and (root := as_module(critic.value)) is not None:
        settings |= {"D": plain(root.state.get("_init_kwargs"))}
        discriminator, left_out = readable(lambda: _discriminator(dict(_walk(root, "Discriminator")), intake))
    elif critic is not None:
        discriminator, left_out = readable(lambda: Part(_state_weights(critic, intake), Hints()))
    return assemble(
        architecture,
        generator,
        discriminator,
        family=family,
        settings=settings,
        warnings=(*checkpoint.notes(generators), *notes, *left_out),
    )


def _read_generator(taken: Network, intake: Intake) -> tuple[Family, str, Part, tuple[str, ...]]:
    """Return a generator's family, the code that wrote it, its part, and what a user should know about it."""
    module = as_module(taken.value)
    if module is not None:
        modules = dict(_walk(module, "Generator"))
        if any(part.class_name in stylegan3.MODULES for part in modules.values()):
            part = stylegan3.part(_weights(modules, intake), _stylegan3_hints(modules))
            return family_stylegan3, stylegan3.FAMILY, part, ()
        return stylegan2, FAMILY, _generator(modules, intake), ()
    weights = _state_weights(taken, intake)
    if not stylegan3.is_stylegan3(weights):
        return stylegan2, FAMILY, Part(weights, Hints()), (_STATE_ONLY,)
    part = stylegan3.part(weights, stylegan3.STATE_HINTS)
    return family_stylegan3, stylegan3.FAMILY, part, (stylegan3.STATE_ONLY,)


def _state_weights(network: Network, intake: Intake) -> dict[str, Weight]:
    """Return the tensors of a state dictionary, whose names are ours."""
    return translated(network.tensors, network.shown, lambda name: (name, "same"), intake, "StyleGAN2")


def _walk(root: ModuleRecord, class_name: str) -> Iterator[tuple[str, ModuleRecord]]:
    """Yield every module with its dotted name, each once.

    Raises:
        NetworkFileError: A class is not one of StyleGAN2's, or modules are shared or nested without end.
    """
    if root.class_name in _OTHERS:
        raise NetworkFileError(f"unsupported: {_OTHERS[root.class_name]}")
    if root.class_name != class_name:
        raise NetworkFileError(f"unsupported: class '{escaped(root.class_name)}' where a {class_name} should be")
    waiting: list[tuple[str, object, int]] = [("", root, 0)]
    seen: set[int] = set()
    while waiting:
        name, part, depth = waiting.pop()
        module = as_module(part)
        if module is None:
            raise NetworkFileError(f"unsupported: '{escaped(name)}' is not one of StyleGAN2's modules")
        if module.class_name not in SUPPORTED:
            supported = ", ".join(sorted(SUPPORTED))
            raise NetworkFileError(f"unsupported: class '{escaped(module.class_name)}'; supported are {supported}")
        if len(name) > MAX_NAME:
            raise NetworkFileError(f"refused: a module's name has {len(name)} characters")
        if id(module.state) in seen or len(seen) > MAX_MODULES or depth > MAX_DEPTH:
            raise NetworkFileError(f"refused: '{escaped(name)}' is shared, or modules are nested without end")
        seen.add(id(module.state))
        yield name, module
        children = tensors_or_parts(module.state.get("_modules"))
        waiting += [(f"{name}.{key}".lstrip("."), child, depth + 1) for key, child in reversed(children)]


def _weights(modules: Mapping[str, ModuleRecord], intake: Intake) -> dict[str, Weight]:
    """Return all parameters and buffers; frozen weights are buffers."""
    weights = {}
    for prefix, module in modules.items():
        for group in ("_parameters", "_buffers"):
            for key, record in tensors_or_parts(module.state.get(group)):
                name = f"{prefix}.{key}".lstrip(".")
                if not isinstance(record, TensorRecord):
                    raise NetworkFileError(f"damaged: '{escaped(name)}' is a {kind_of(record)}, not a tensor")
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
    return _agreed(sources, _CLAIMS)


def _agreed(sources: Iterable[object], names: Mapping[str, str]) -> dict[str, Any]:
    """Return what sources of settings say, of which `names` has theirs and our name.

    Raises:
        NetworkFileError: Two of them disagree.
    """
    claims: dict[str, Any] = {}
    for source in sources:
        for key, name in names.items():
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


def _stylegan3_hints(modules: Mapping[str, ModuleRecord]) -> Hints:
    layers = {name: module for name, module in modules.items() if module.class_name == "SynthesisLayer"}
    dense = {name: module for name, module in modules.items() if name.startswith("mapping.fc")}
    mapping, synthesis = modules.get("mapping"), modules.get("synthesis")
    if mapping is None or synthesis is None:
        raise NetworkFileError("damaged: its generator lacks the mapping or the synthesis network")
    arguments = [module.state.get("_init_kwargs") for module in (modules[""], synthesis)]
    both = {key: name for key, name in _CLAIMS.items() if key != "num_layers"}  # mapping and synthesis have their own
    claims = _agreed([modules[""].state, mapping.state, synthesis.state, *arguments], both)
    claims |= _agreed([synthesis.state, *arguments], {name: name for name in stylegan3.CLAIMS})
    beta = _attribute({"": mapping}, "w_avg_beta", (float, int), None)
    return Hints(
        conv_clamp=_attribute(layers, "conv_clamp", (float, int), None),
        mapping_activation=_attribute(dense, "activation", (str,), "lrelu"),
        lr_multiplier=_attribute(dense, "bias_gain", (float, int), 0.01),
        w_avg_beta=stylegan3.W_AVG_BETA if beta is None else beta,
        claims=claims,
    )


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
