"""Networks of rosinality's stylegan2-pytorch: converted and training checkpoints."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from generator.errors import NetworkFileError
from generator.files.pickles.records import escaped, plain
from generator.files.state import LoadedState, Part, assemble
from generator.files.tensorflow_names import Translation, rosinality_discriminator, rosinality_generator, translate
from generator.files.weights import Intake, Weight
from generator.tensors import Hints

__all__ = ["FAMILY", "read"]

FAMILY: Final = "rosinality"


def read(top: Mapping[Any, Any], file_size: int) -> LoadedState:
    """Turn an interpreted file into a network: `g_ema` and `d`, with `latent_avg` where it has one.

    Args:
        top: The dictionary that the file holds.
        file_size: Bytes of the file.

    Raises:
        NetworkFileError: It holds no such network, or one that does not fit together.
    """
    intake = Intake(file_size)
    weights = _translated(top.get("g_ema"), "g_ema", rosinality_generator, intake)
    if top.get("latent_avg") is not None:
        weights["mapping.w_avg"] = translate(intake.weight(top["latent_avg"], "latent_avg"), "same")
    discriminator = None
    if top.get("d") is not None:
        blocks = sum(isinstance(key, str) and key.endswith(".conv1.0.weight") for key in _state(top["d"], "d"))
        resolution = 4 << min(blocks, 16)
        tensors = _translated(top["d"], "d", lambda name: rosinality_discriminator(name, resolution), intake)
        discriminator = Part(tensors, Hints())
    settings: dict[str, Any] = {"entries": sorted(escaped(str(key)) for key in list(top)[:50])}
    if top.get("args") is not None:
        settings["args"] = plain(top["args"])
    missing = "mapping.w_avg" not in weights
    note = "the file has no mean latent; it is the mean of 10000 latents mapped with a fixed seed"
    return assemble(
        Part(weights, Hints()),
        discriminator,
        family=FAMILY,
        settings=settings,
        optional=frozenset({"mapping.w_avg"}),
        warnings=(note,) if missing else (),
    )


def _state(state: object, entry: str) -> Mapping[Any, Any]:
    if not isinstance(state, dict) or not state:
        raise NetworkFileError(f"damaged: its entry '{entry}' is not a dictionary of tensors")
    return state


def _translated(
    state: object, entry: str, translation: Callable[[str], Translation], intake: Intake
) -> dict[str, Weight]:
    """Return the tensors of one network under our names."""
    weights: dict[str, Weight] = {}
    for key, record in _state(state, entry).items():
        found = translation(key) if isinstance(key, str) else None
        if found is None:
            shown = escaped(str(key))
            raise NetworkFileError(
                f"unsupported: '{entry}' holds '{shown}', which rosinality's StyleGAN2 does not have"
            )
        name, transform = found
        if name in weights:
            raise NetworkFileError(f"damaged: '{entry}' holds '{escaped(key)}' twice")
        weights[name] = translate(intake.weight(record, f"{entry}.{key}"), transform)
    return weights
