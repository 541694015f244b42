"""Write networks in this project's own format: safetensors, with the settings in the header.

The same networks and settings always give the same bytes.
"""

import json
import os
import secrets
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from generator.config import to_dict
from generator.files.invert_format import FAMILY, FORMAT, METADATA_KEY, VERSION
from generator.files.reading import LoadedNetwork
from generator.networks import AnyDiscriminator, Generator

__all__ = ["network_bytes", "save_loaded", "save_network"]


def network_bytes(
    generator: Generator,
    discriminator: AnyDiscriminator | None = None,
    *,
    family: str = FAMILY,
    source_sha256: str | None = None,
    settings: dict[str, Any] | None = None,
) -> bytes:
    """Return the content of a network file.

    Args:
        generator: Written under `G.`.
        discriminator: Written under `D.`.
        family: The code that wrote the network first.
        source_sha256: Hash of the file that it was converted from.
        settings: What that file said about itself; JSON types.
    """
    about = {
        "format": FORMAT,
        "version": VERSION,
        "generator": to_dict(generator.config),
        "discriminator": None if discriminator is None else to_dict(discriminator.config),
        "family": family,
        "source_sha256": source_sha256,
        "settings": settings or {},
    }
    tensors = _tensors(generator, "G.")
    if discriminator is not None:
        tensors |= _tensors(discriminator, "D.")
    # the library sorts the tensors, but keeps no order among several metadata entries
    return save(tensors, {METADATA_KEY: json.dumps(about, sort_keys=True, separators=(",", ":"))})


def save_network(
    path: str | os.PathLike[str],
    generator: Generator,
    discriminator: AnyDiscriminator | None = None,
    *,
    family: str = FAMILY,
    source_sha256: str | None = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Write a network file, whole or not at all; arguments as for `network_bytes`.

    Raises:
        OSError: It cannot be written; an older file of that name is untouched.
    """
    content = network_bytes(generator, discriminator, family=family, source_sha256=source_sha256, settings=settings)
    _write_atomically(Path(path), content)


def save_loaded(path: str | os.PathLike[str], network: LoadedNetwork) -> None:
    """Write a network that was loaded from any supported file, with what is known of its origin.

    Raises:
        OSError: It cannot be written; an older file of that name is untouched.
    """
    origin = network.provenance
    save_network(
        path,
        network.generator,
        network.discriminator,
        family=origin.family,
        source_sha256=origin.source_sha256,
        settings=origin.settings,
    )


def _tensors(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    state = module.state_dict()
    return {f"{prefix}{name}": value.detach().cpu().float().contiguous() for name, value in state.items()}


def _write_atomically(path: Path, content: bytes) -> None:
    """Write beside the target, then rename, so that a crash or power cut leaves the old file or the new one."""
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
