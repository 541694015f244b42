"""Networks under the names of rosinality's stylegan2-pytorch: its checkpoints, and those of its many relatives."""

import re
from typing import Final

import generator.stylegan2 as stylegan2
from generator.errors import NetworkFileError
from generator.files.checkpoints import Checkpoint, Network
from generator.files.state import LoadedState, Part, assemble, readable
from generator.files.tensorflow_networks import noise_name
from generator.files.weights import Intake, Translation, Weight, translated
from generator.tensors import Hints

__all__ = ["FAMILY", "generator_name", "read", "recognises"]

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


def recognises(checkpoint: Checkpoint) -> bool:
    """Tell whether what a file holds has a generator under this code's names."""
    top = checkpoint.top
    return (isinstance(top, dict) and "g_ema" in top) or bool(checkpoint.generators(_fits))


def _fits(network: Network) -> bool:
    names = network.tensors
    return "input.input" in names or any(name.endswith(".conv.modulation.weight") for name in names)


def read(checkpoint: Checkpoint, file_size: int) -> LoadedState:
    """Turn an interpreted file into a network: `g_ema` and `d`, with `latent_avg` where it has one.

    Relatives of this code are read too: pSp, e4e, ReStyle and HyperStyle (`decoder`), GANInverter, fine-tuned
    generators (`g` alone), state dictionaries and whole modules.

    Args:
        checkpoint: What the file holds.
        file_size: Bytes of the file.

    Raises:
        NetworkFileError: It holds no such network, or one that does not fit together.
    """
    intake = Intake(file_size)
    generators = checkpoint.generators(_fits)
    if not generators:
        raise NetworkFileError("damaged: its entry 'g_ema' is not a dictionary of tensors")
    taken = generators[0]
    weights = translated(taken.tensors, taken.shown, generator_name, intake, "rosinality's StyleGAN2")
    average, note = _latent_average(checkpoint, intake)
    discriminator, left_out = _discriminator(checkpoint.discriminator(taken), intake)
    return assemble(
        stylegan2,
        Part(weights | average, Hints()),
        discriminator,
        family=FAMILY,
        settings=checkpoint.settings,
        warnings=(*checkpoint.notes(generators), *note, *left_out),
    )


def _latent_average(checkpoint: Checkpoint, intake: Intake) -> tuple[dict[str, Weight], tuple[str, ...]]:
    """Return the mean of w that stands beside the networks, under our name, and what is to be said of it.

    It has one row, `[w_dim]` or `[1, w_dim]`, or one for each layer; rows that differ are no mean of w.
    """
    if checkpoint.latent_average is None:
        return {}, ()
    found = intake.weight(checkpoint.latent_average, "latent_avg")
    rows = found.array.reshape(-1, found.array.shape[-1]) if found.array.ndim else found.array.reshape(1, 1)
    if not len(rows) or not (rows == rows[:1]).all():
        return {}, ("the rows of 'latent_avg' differ from layer to layer: it is not used",)
    return {"mapping.w_avg": Weight(rows[0], found.source, found.kind)}, ()


def _discriminator(network: Network | None, intake: Intake) -> tuple[Part | None, tuple[str, ...]]:
    if network is None:
        return None, ()
    blocks = sum(name.endswith(".conv1.0.weight") for name in network.tensors)
    resolution = 4 << min(blocks, 16)
    names = (lambda name: _discriminator_name(name, resolution)), intake, "rosinality's StyleGAN2"
    return readable(lambda: Part(translated(network.tensors, network.shown, *names), Hints()))


def generator_name(name: str) -> Translation:
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
