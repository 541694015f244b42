"""StyleGAN2 networks of genforce and of its successor Hammer, whose layers are numbered through."""

import re
from collections.abc import Callable
from typing import Final

import generator.stylegan2 as stylegan2
from generator.files.checkpoints import Checkpoint, Network
from generator.files.state import LoadedState, Part, assemble
from generator.files.weights import Intake, Translation, translated
from generator.tensors import Hints

__all__ = ["read", "recognises"]

GENFORCE: Final = "genforce"
HAMMER: Final = "hammer"

_MAPPING: Final = {
    "w_avg": ("mapping.w_avg", "same"),
    "truncation.w_avg": ("mapping.w_avg", "same"),
    "mapping.label_weight": ("mapping.label_matrix", "same"),
    "mapping.embedding.weight": ("mapping.embed.weight", "same"),
    "mapping.embedding.bias": ("mapping.embed.bias", "same"),
    "synthesis.early_layer.const": ("synthesis.b4.const", "first"),
}
_PARAMETERS: Final = {
    "weight": ("weight", "same"),
    "bias": ("bias", "same"),
    "style.weight": ("affine.weight", "same"),
    "style.bias": ("affine.bias", "same"),
    "noise": ("noise_const", "map"),
    "noise_strength": ("noise_strength", "scalar"),
    "filter": ("resample_filter", "kernel"),
    "filter.kernel": ("resample_filter", "kernel"),
}
_FILTERS: Final = ("synthesis.filter", "synthesis.upsample.kernel")


def recognises(checkpoint: Checkpoint) -> bool:
    """Tell whether what a file holds has a generator under these codes' names."""
    return bool(checkpoint.generators(_fits))


def _fits(network: Network) -> bool:
    return "synthesis.early_layer.const" in network.tensors


def read(checkpoint: Checkpoint, file_size: int) -> LoadedState:
    """Turn an interpreted file into a network: `generator_smooth`, else `generator`.

    Args:
        checkpoint: What the file holds.
        file_size: Bytes of the file.

    Raises:
        NetworkFileError: It holds no such network, or one that does not fit together.
    """
    generators = checkpoint.generators(_fits)
    taken = generators[0]
    family = GENFORCE if "truncation.w_avg" in taken.tensors else HAMMER
    name = _named_by(family)
    weights = translated(taken.tensors, taken.shown, name, Intake(file_size), f"StyleGAN2 of {family}")
    left_out = checkpoint.discriminator(taken) is not None
    return assemble(
        stylegan2,
        Part(weights, Hints()),
        None,
        family=family,
        settings=checkpoint.settings,
        warnings=(*checkpoint.notes(generators), *(("its discriminator is left out",) if left_out else ())),
    )


def _named_by(family: str) -> Callable[[str], Translation]:
    """Return what translates the names of a generator's state.

    genforce keeps what TensorFlow wrote: filters of upsampling layers upside down, biases of styles without their one.
    Hammer keeps both as they are used.
    """
    as_tensorflow = family == GENFORCE

    def named(name: str) -> Translation:
        if name in _MAPPING:
            return _MAPPING[name]
        if name in _FILTERS:
            return "synthesis.resample_filter", "kernel"
        if match := re.fullmatch(r"mapping\.dense(\d{1,3})\.(weight|bias)", name):
            return f"mapping.fc{match[1]}.{match[2]}", "same"
        if match := re.fullmatch(r"synthesis\.residual(\d{1,2})\.(weight|filter)", name):
            parameter, transform = _PARAMETERS[match[2]]
            return f"synthesis.b{4 << int(match[1])}.skip.{parameter}", transform
        match = re.fullmatch(r"synthesis\.(layer|output)(\d{1,2})\.(.+)", name)
        if not match or match[3] not in _PARAMETERS:
            return None
        parameter, transform = _PARAMETERS[match[3]]
        number, is_layer = int(match[2]), match[1] == "layer"
        upsamples = is_layer and number % 2 == 1
        if as_tensorflow and match[3] == "style.bias":
            transform = "plus one"
        if as_tensorflow and match[3] == "weight" and upsamples:
            transform = "upside down"
        layer = ("conv0" if upsamples else "conv1") if is_layer else "torgb"
        block = 4 << ((number + 1) // 2 if is_layer else number)
        return f"synthesis.b{block}.{layer}.{parameter}", transform

    return named
