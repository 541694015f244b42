"""StyleGAN2 networks of MMGeneration and its successor MMagic: rosinality's network under other names."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import generator.stylegan2 as stylegan2
from generator.files.checkpoints import Checkpoint, Network
from generator.files.rosinality import generator_name
from generator.files.state import LoadedState, Part, assemble
from generator.files.weights import DROPPED, Intake, Translation, Weight, translated
from generator.tensors import Hints

__all__ = ["FAMILY", "read", "recognises"]

FAMILY: Final = "mmgeneration"

# their part of a name -> rosinality's; a weight that is scaled when it is used has `_orig` after it
_NAMES: Final = (
    (r"style_mapping\.(\d{1,3})\.(?:linear\.)?(weight|bias)", r"style.\1.\2"),
    (r"constant_input\.input", "input.input"),
    (r"injected_noise_(\d{1,2})", r"noises.noise_\1"),
    (r"(.+)\.style_modulation\.(?:linear\.)?(weight|bias)", r"\1.modulation.\2"),
    (r"(.+)\.noise_injector\.weight", r"\1.noise.weight"),
    (r"((?:conv1|convs|to_rgb1|to_rgbs)\..+)", r"\1"),
)
_TURNED: Final = "its images are in the order blue, green, red, as that code makes them: they were turned to RGB"
_KEPT: Final = "its settings say 'rgb2bgr': the network's own images are RGB already"


def recognises(checkpoint: Checkpoint) -> bool:
    """Tell whether what a file holds has a generator under this code's names."""
    return bool(checkpoint.generators(_fits))


def _fits(network: Network) -> bool:
    return "constant_input.input" in network.tensors


def read(checkpoint: Checkpoint, file_size: int) -> LoadedState:
    """Turn an interpreted file into a network: `generator_ema`, else `generator`.

    Args:
        checkpoint: What the file holds.
        file_size: Bytes of the file.

    Raises:
        NetworkFileError: It holds no such network, or one that does not fit together.
    """
    generators = checkpoint.generators(_fits)
    taken = generators[0]
    weights = translated(taken.tensors, taken.shown, _generator_name, Intake(file_size), "MMGeneration's StyleGAN2")
    is_rgb = _says_rgb(checkpoint.top)
    if not is_rgb:
        weights = {name: _turned(name, item) for name, item in weights.items()}
    left_out = checkpoint.discriminator(taken) is not None
    return assemble(
        stylegan2,
        Part(weights, Hints()),
        None,
        family=FAMILY,
        settings=checkpoint.settings,
        warnings=(
            *checkpoint.notes(generators),
            _KEPT if is_rgb else _TURNED,
            *(("its discriminator is left out",) if left_out else ()),
        ),
    )


def _generator_name(name: str) -> Translation:
    """Translate a name of the generator's state."""
    if name == "steps":  # of the running average
        return DROPPED
    bare = name.removesuffix("_orig")
    for pattern, theirs in _NAMES:
        if match := re.fullmatch(pattern, bare):
            return generator_name(match.expand(theirs))
    return None


def _turned(name: str, item: Weight) -> Weight:
    """Turn the colours of a layer that gives an image."""
    return replace(item, array=item.array[::-1]) if re.search(r"\.torgb\.(weight|bias)$", name) else item


def _says_rgb(top: object) -> bool:
    """Tell whether the configuration beside the networks says that colours are turned after the network.

    So it is with weights that were converted from the published files.
    """
    meta: Any = top.get("meta") if isinstance(top, Mapping) else None
    said = (meta.get("config"), meta.get("cfg")) if isinstance(meta, Mapping) else ()
    return any(isinstance(text, str) and re.search(r"rgb2bgr\s*=\s*True", text[: 1 << 20]) for text in said)
