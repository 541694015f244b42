"""Write the golden networks the way the PyTorch, TensorFlow and rosinality codes write theirs."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.loaders import emitter
from tests.loaders.emitter import Call, Global, New

GOLDEN = Path(__file__).parent.parent / "golden"

Arrays = dict[str, np.ndarray]


def golden(name: str) -> tuple[Arrays, Arrays, dict[str, np.ndarray], dict[str, Any]]:
    """Return the generator, discriminator, expected arrays and settings of `network_{name}.npz`."""
    with np.load(GOLDEN / f"network_{name}.npz", allow_pickle=False) as file:
        data = dict(file)
    config = json.loads(str(data.pop("config")))
    parts = [{key[2:]: value for key, value in data.items() if key.startswith(p)} for p in ("G.", "D.")]
    return parts[0], parts[1], data, config


# stylegan2-ada-pytorch

SOURCE = "raise SystemExit('the source text in a network file was run')\n"


def ada_class(name: str, root: str) -> str:
    """Return the class of the module at a dotted name."""
    last = name.rsplit(".", 1)[-1]
    if not name:
        return root
    if root == "Generator":
        known = {"mapping": "MappingNetwork", "synthesis": "SynthesisNetwork", "torgb": "ToRGBLayer"}
        known |= {"conv0": "SynthesisLayer", "conv1": "SynthesisLayer", "skip": "Conv2dLayer"}
        block = "SynthesisBlock"
    else:
        known = {"mapping": "MappingNetwork", "fc": "FullyConnectedLayer", "out": "FullyConnectedLayer"}
        known |= dict.fromkeys(("conv0", "conv1", "conv", "skip", "fromrgb"), "Conv2dLayer")
        block = "DiscriminatorEpilogue" if last == "b4" else "DiscriminatorBlock"
    return known.get(last) or (block if re.fullmatch(r"b\d+", last) else "FullyConnectedLayer")


def ada_attributes(name: str, kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return the plain attributes that a module of this class has, as far as a reader looks at them."""
    image = {key: config[key] for key in ("img_resolution", "img_channels", "c_dim")}
    if kind == "Generator":
        return {**image, "z_dim": config["z_dim"], "w_dim": config["w_dim"]}
    if kind == "Discriminator":
        return image
    if kind in ("SynthesisLayer", "Conv2dLayer"):
        activation = "linear" if name.endswith("skip") else "lrelu"
        return {"activation": activation, "conv_clamp": config.get("conv_clamp"), "act_gain": emitter.scalar(2**0.5)}
    if kind == "ToRGBLayer":
        return {"conv_clamp": config.get("conv_clamp")}
    if kind == "FullyConnectedLayer":
        trained = name.startswith("mapping.fc")
        return {"activation": "lrelu" if trained else "linear", "bias_gain": 0.01 if trained else 1}
    return {"w_avg_beta": 0.995} if name == "mapping" else {}


def ada_module(
    arrays: Arrays,
    config: dict[str, Any],
    root: str,
    tensor: Callable[[str, np.ndarray], Any],
    kwargs: dict[str, Any],
) -> Call:
    """Return a network as nested persistent objects."""
    names = {""}
    for key in arrays:
        parts = key.split(".")[:-1]
        names |= {".".join(parts[: i + 1]) for i in range(len(parts))}
    if root == "Discriminator":
        names.add("b4.mbstd")
    built: dict[str, Call] = {}
    for name in sorted(names, key=lambda name: -name.count(".") if name else 1):
        kind = "MinibatchStdLayer" if name.endswith("mbstd") else ada_class(name, root)
        prefix = f"{name}." if name else ""
        own = {key.removeprefix(prefix): key for key in arrays if key.startswith(prefix)}
        own = {short: key for short, key in own.items() if "." not in short}
        buffers = {short for short in own if short in ("resample_filter", "noise_const", "w_avg")}
        children = {
            other.removeprefix(prefix): built[other]
            for other in sorted(names)
            if other != name and other.startswith(prefix) and "." not in other.removeprefix(prefix)
        }
        parameters = {
            short: emitter.parameter(tensor(own[short], arrays[own[short]])) for short in own.keys() - buffers
        }
        state = {
            "training": False,
            "_parameters": parameters if parameters else Call(emitter.ORDERED),
            "_buffers": {short: tensor(own[short], arrays[own[short]]) for short in buffers},
            "_modules": children,
            "_non_persistent_buffers_set": Call(Global("builtins", "set"), ([],)),
            "_init_args": (),
            "_init_kwargs": New(Global("dnnlib.util", "EasyDict"), kwargs if not name else {}),
            **ada_attributes(name, kind, config),
        }
        if kind == "MinibatchStdLayer":
            state |= {"group_size": config["mbstd_group_size"], "num_channels": 1}
        meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": kind, "state": state}
        built[name] = Call(Global("torch_utils.persistence", "_reconstruct_persistent_obj"), (meta,))
    return built[""]


def ada(
    name: str = "skip_resnet",
    protocol: int = 3,
    change: Callable[[Arrays, Arrays], None] | None = None,
    tensor: Callable[[str, np.ndarray], Any] = lambda _, value: emitter.tensor(value),
    kwargs: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
) -> bytes:
    """Return a network as stylegan2-ada-pytorch pickles it.

    Args:
        name: The golden network.
        protocol: Protocol of the pickle.
        change: Changes the arrays of G and D first.
        tensor: How a tensor is written, given its name.
        kwargs: Constructor arguments of the generator to add.
        config: Settings to change.
    """
    generator, discriminator, _, settings = golden(name)
    settings |= config or {}
    if change is not None:
        change(generator, discriminator)
    widths = {key: settings[key] for key in ("channel_base", "channel_max")}
    made = {
        "G": None,
        "D": ada_module(discriminator, settings, "Discriminator", tensor, widths),
        "G_ema": ada_module(generator, settings, "Generator", tensor, {"synthesis_kwargs": widths, **(kwargs or {})}),
        "training_set_kwargs": {"class_name": "os.system", "path": "touch somewhere"},
    }
    return emitter.dumps(made, protocol)


# TensorFlow

LAYERS = {"conv0": "Conv0_up", "conv1": "Conv1", "torgb": "ToRGB", "skip": "Skip"}
D_LAYERS = {"conv0": "Conv0", "conv1": "Conv1_down", "conv": "Conv", "skip": "Skip", "fromrgb": "FromRGB"}


def tf_noise(resolution: int, layer: str) -> str:
    if resolution == 4:
        return "noise0"
    return f"noise{2 * int(np.log2(resolution)) - (5 if layer == 'conv0' else 4)}"


def tf_filter(value: np.ndarray, flip: bool) -> np.ndarray:
    value = value.transpose(2, 3, 1, 0)
    return np.ascontiguousarray(value[::-1, ::-1] if flip else value)


def tf_mapping(arrays: Arrays) -> Arrays:
    made = {}
    for key, value in arrays.items():
        layer, kind = key.split(".") if "." in key else ("", key)
        layer = "LabelEmbed" if layer == "embed" else layer.replace("fc", "Dense")
        if key == "label_matrix":
            made["LabelConcat/weight"] = value
        elif key != "w_avg":
            made[f"{layer}/{kind}"] = np.ascontiguousarray(value.T)
    return made


def tf_synthesis(arrays: Arrays) -> Arrays:
    made = {"lod": np.zeros([], np.float32)} if "lod" in arrays else {}
    for key, value in arrays.items():
        parts = key.split(".")
        if len(parts) < 2 or parts[-1] == "resample_filter":
            continue
        r, layer = int(parts[0][1:]), parts[1]
        place = f"{r}x{r}/" + ("Conv" if (r, layer) == (4, "conv1") else LAYERS.get(layer, ""))
        if layer == "const":
            made["4x4/Const/const"] = value[None]
        elif parts[2] == "noise_const":
            made[tf_noise(r, layer)] = value[None, None]
        elif parts[2] == "weight":
            made[f"{place}/weight"] = tf_filter(value, layer in ("conv0", "skip"))
        elif parts[2:] == ["affine", "weight"]:
            made[f"{place}/mod_weight"] = np.ascontiguousarray(value.T)
        elif parts[2:] == ["affine", "bias"]:
            made[f"{place}/mod_bias"] = value - 1
        else:
            made[f"{place}/{parts[2]}"] = value
    return made


def tf_discriminator(arrays: Arrays) -> Arrays:
    made = {}
    for key, value in arrays.items():
        parts = key.split(".")
        if parts[-1] == "resample_filter":
            continue
        kind = parts[-1]
        if parts[0] == "mapping":
            place = "LabelEmbed" if parts[1] == "embed" else parts[1].replace("fc", "Mapping")
        elif parts[:2] in (["b4", "fc"], ["b4", "out"]):
            place = "4x4/Dense0" if parts[1] == "fc" else "Output"
        else:
            place = f"{parts[0][1:]}x{parts[0][1:]}/{D_LAYERS[parts[1]]}"
        dense = place in ("LabelEmbed", "4x4/Dense0", "Output") or place.startswith("Mapping")
        weight = (lambda value: np.ascontiguousarray(value.T)) if dense else (lambda value: tf_filter(value, False))
        made[f"{place}/{kind}"] = weight(value) if kind == "weight" else value
    return made


def tf_network(kwargs: dict[str, Any], variables: Arrays, version: int, **components: New) -> New:
    state = {
        "version": version,
        "name": "network",
        "static_kwargs": New(Global("dnnlib.util", "EasyDict"), kwargs),
        "components": components,
        "build_module_src": SOURCE,
        "build_func_name": "G_main",
        "variables": list(variables.items()),
    }
    return New(Global("dnnlib.tflib.network", "Network"), state=state)


def tf(
    name: str = "skip_resnet",
    version: int = 4,
    change: Callable[[Arrays, Arrays], None] | None = None,
    rename: Callable[[Arrays], Arrays] = lambda variables: variables,
    kwargs: dict[str, Any] | None = None,
    d_kwargs: dict[str, Any] | None = None,
    protocol: int = 2,
) -> bytes:
    """Return a network as the TensorFlow code pickles it; see `tf_parts`.

    Args:
        protocol: Protocol of the pickle.
    """
    made, critic = tf_parts(name, version, change, rename, kwargs, d_kwargs)
    return emitter.dumps((made, critic, made), protocol)


def tf_parts(
    name: str = "skip_resnet",
    version: int = 4,
    change: Callable[[Arrays, Arrays], None] | None = None,
    rename: Callable[[Arrays], Arrays] = lambda variables: variables,
    kwargs: dict[str, Any] | None = None,
    d_kwargs: dict[str, Any] | None = None,
) -> tuple[New, New]:
    """Return the generator and the discriminator as the TensorFlow code pickles them.

    Args:
        name: The golden network.
        version: Version of the TensorFlow networks.
        change: Changes the arrays of G and D, under our names, first.
        rename: Changes the variables of the synthesis network and the discriminator last.
        kwargs: Settings of the generator to add.
        d_kwargs: Settings of the discriminator to add.
    """
    generator, discriminator, _, config = golden(name)
    if change is not None:
        change(generator, discriminator)
    parts = {
        part: {key.removeprefix(f"{part}."): value for key, value in generator.items() if key.startswith(f"{part}.")}
        for part in ("mapping", "synthesis")
    }
    image = {"resolution": config["img_resolution"], "num_channels": config["img_channels"]}
    widths = {
        "fmap_base": config["channel_base"] // 2,
        "fmap_max": config["channel_max"],
        "label_size": config["c_dim"],
    }
    g = {**image, **widths, "latent_size": config["z_dim"], "dlatent_size": config["w_dim"], **(kwargs or {})}
    d = {**image, **widths, "mbstd_group_size": config["mbstd_group_size"], **(d_kwargs or {})}
    own = {"lod": np.zeros([], np.float32), "dlatent_avg": parts["mapping"]["w_avg"]}
    made = tf_network(
        g,
        own,
        version,
        synthesis=tf_network({}, rename(tf_synthesis(parts["synthesis"])), version),
        mapping=tf_network({}, tf_mapping(parts["mapping"]), version),
    )
    return made, tf_network(d, rename(tf_discriminator(discriminator)), version)


# rosinality


def rosinality_generator(arrays: Arrays) -> Arrays:
    """Return a skip generator under rosinality's names."""
    made: Arrays = {}
    for key, value in arrays.items():
        parts = key.split(".")
        if parts[0] == "mapping":
            if parts[1] != "w_avg":
                made[f"style.{int(parts[1][2:]) + 1}.{parts[2]}"] = value
            continue
        r, layer, kind = int(parts[1][1:]), parts[2], ".".join(parts[3:])
        level = int(np.log2(r))
        if layer == "const":
            made["input.input"] = value[None]
        elif layer == "torgb":
            place = "to_rgb1" if r == 4 else f"to_rgbs.{level - 3}"
            made |= rosinality_rgb(place, kind, value)
        elif layer in ("conv0", "conv1"):
            index = 2 * (level - 3) + (layer == "conv1")
            place = "conv1" if r == 4 else f"convs.{index}"
            made |= rosinality_conv(place, kind, value, 0 if r == 4 else index + 1, layer == "conv0")
    return made


def rosinality_rgb(place: str, kind: str, value: np.ndarray) -> Arrays:
    if kind == "weight":
        return {f"{place}.conv.weight": value[None]}
    if kind == "bias":
        kernel = {} if place == "to_rgb1" else {f"{place}.upsample.kernel": rosinality_kernel(4)}
        return {f"{place}.bias": value.reshape(1, -1, 1, 1), **kernel}
    return {f"{place}.conv.modulation.{kind.removeprefix('affine.')}": value}


def rosinality_conv(place: str, kind: str, value: np.ndarray, noise: int, up: bool) -> Arrays:
    if kind == "weight":
        kernel = {f"{place}.conv.blur.kernel": rosinality_kernel(4)} if up else {}
        return {f"{place}.conv.weight": value[None], **kernel}
    known = {"bias": f"{place}.activate.bias", "noise_strength": f"{place}.noise.weight"}
    if kind == "noise_const":
        return {f"noises.noise_{noise}": value[None, None]}
    if kind.startswith("affine."):
        return {f"{place}.conv.modulation.{kind.removeprefix('affine.')}": value}
    return {known[kind]: value.reshape(-1)} if kind in known else {}


def rosinality_kernel(gain: float) -> np.ndarray:
    row = np.array([1, 3, 3, 1], np.float32) / 8
    return np.outer(row, row) * np.float32(gain)


def rosinality_discriminator(arrays: Arrays) -> Arrays:
    """Return a resnet discriminator under rosinality's names."""
    top = max(int(key.split(".")[0][1:]) for key in arrays)
    made: Arrays = {}
    for key, value in arrays.items():
        parts = key.split(".")
        r, kind = int(parts[0][1:]), ".".join(parts[1:])
        block = f"convs.{int(np.log2(top // r)) + 1}"
        known = {"fromrgb.weight": "convs.0.0.weight", "fromrgb.bias": "convs.0.1.bias"}
        if r == 4:
            known |= {"conv.weight": "final_conv.0.weight", "conv.bias": "final_conv.1.bias"}
            known |= {f"fc.{p}": f"final_linear.0.{p}" for p in ("weight", "bias")}
            known |= {f"out.{p}": f"final_linear.1.{p}" for p in ("weight", "bias")}
        else:
            known |= {"conv0.weight": f"{block}.conv1.0.weight", "conv0.bias": f"{block}.conv1.1.bias"}
            known |= {"conv1.weight": f"{block}.conv2.1.weight", "conv1.bias": f"{block}.conv2.2.bias"}
            known["skip.weight"] = f"{block}.skip.1.weight"
            made |= {f"{block}.conv2.0.kernel": rosinality_kernel(1), f"{block}.skip.0.kernel": rosinality_kernel(1)}
        if kind in known:
            made[known[kind]] = value
    return made
