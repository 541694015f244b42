"""The training of an encoder, as a function."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invert.api.arguments import Network, OnMessage, load, silent
from invert.durable import check_writable, write_atomic
from invert.errors import NoInputError, UsageError
from invert.images.opening import read_regular
from invert.projection.encoder_settings import EncoderSettings

if TYPE_CHECKING:
    from invert.projection.encoder_training import EncoderRecord, EncoderTraining
    from invert.projection.encoders import EncoderFile

__all__ = ["train_encoder"]

_STATE = ".state"
_MAX_STATE = 1 << 30
_EVERY = 50  # steps between two states


def train_encoder(
    network: Network,
    out: str | os.PathLike[str] | None = None,
    *,
    device: str = "auto",
    threads: int | None = None,
    overwrite: bool = False,
    on_step: "Callable[[EncoderRecord], None] | None" = None,
    on_message: OnMessage | None = None,
    **settings: Any,
) -> "EncoderFile":
    """Train an encoder, which tells the w of an image at a glance, on a network's own samples.

    A run that was stopped is resumed by the same call, from `OUT.state` beside the file.

    Args:
        network: From `load`, or its file.
        out: The encoder's file; by default beside the network, where projections find it.
        device: Device that computes: "auto", "cpu", "cuda" ...
        threads: CPU threads; by default one for each processor.
        overwrite: Whether an earlier file, or a state of other settings, is replaced.
        on_step: Called after each step.
        on_message: Called with a line on what takes long, or is resumed.
        settings: Fields of `EncoderSettings`: steps, batch, width, rate, lpips, seed.

    Raises:
        NetworkError: The network cannot be used.
        UsageError: The file exists, or a state of other settings does.
        OutputError: It cannot be written.
    """
    loaded = load(network) if isinstance(network, str | os.PathLike) else network
    from generator.settings import SQUARE, map_shape
    from invert.projection.encoder_training import EncoderTraining
    from invert.projection.encoders import EncoderFile, encoder_path
    from invert.projection.process import prepare_process, settle_device

    message = on_message or silent
    path = encoder_path(loaded.provenance.path) if out is None else Path(out)
    if path.suffix != ".safetensors":
        raise UsageError("does not end in .safetensors", path=path, advice="Name ENCODER.safetensors.")
    if path.exists() and not overwrite:
        raise UsageError("exists already", path=path, advice="Add --overwrite, or choose another name.")
    if map_shape(loaded.generator.config.synthesis, 4) != SQUARE:
        raise UsageError("the network's images are not square", advice="Encoders look at square images.")
    check_writable(path)
    chosen = settle_device(device)
    prepare_process(chosen, threads, message)
    training = EncoderTraining(loaded.generator, EncoderSettings(**settings), device=chosen)
    state = path.with_name(f"{path.name}{_STATE}")
    about = {"weights_sha256": loaded.provenance.weights_sha256, **training.facts()}
    if state.exists():
        _resume(training, state, about, overwrite, message)
    for record in training.run():
        if on_step is not None:
            on_step(record)
        if record.step % _EVERY == 0 and record.step < record.steps:
            write_atomic(state, training.state(about))
    found = EncoderFile(training.encoder, loaded.provenance.weights_sha256, training.facts())
    write_atomic(path, found.to_bytes())
    state.unlink(missing_ok=True)
    return found


def _resume(
    training: "EncoderTraining", state: Path, about: dict[str, Any], overwrite: bool, on_message: OnMessage
) -> None:
    """Go on where an earlier run was stopped."""
    from invert.projection.encoders import DAMAGE

    advice = "Add --overwrite to start afresh."
    try:
        is_same = training.resume(read_regular(state, _MAX_STATE), about)
    except DAMAGE as error:
        if not overwrite:
            raise NoInputError("is no state of a training, or damaged", path=state, advice=advice) from error
        return
    if is_same:
        on_message(f"resumed after step {training.step}")
    elif not overwrite:
        reason = "is of a training with other settings, or of another network"
        raise UsageError(reason, path=state, advice=advice, code="settings-differ")
