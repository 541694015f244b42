"""Encoders: small networks that tell the w of an image at a glance, trained on a network's own samples.

    encoder = read_encoder(path)                 # safetensors, with the hash of the network's weights
    w = encoder.network(images)                  # [N, w_dim]

`invert train-encoder` makes one; it lies beside the network, as calibrations do: see `encoder_path`.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional

from generator.jsontext import JsonError, read_json
from invert.errors import NoInputError
from invert.images.opening import read_regular
from invert.projection.latents import LatentStatistics, Targets

__all__ = [
    "DAMAGE",
    "SUFFIX",
    "Encoder",
    "EncoderFile",
    "EncoderShape",
    "EncoderStart",
    "encoder_path",
    "read_encoder",
    "read_metadata",
]

SUFFIX = ".encoder.safetensors"
_KEY, _FORMAT, _VERSION = "invert-encoder", "invert encoder", 1
_MAX_BYTES, _MAX_HEADER = 1 << 28, 1 << 20
_SIDE = 64  # px; larger images are averaged down before the encoder looks at them
_SMALLEST = 4  # px; of the last feature maps
DAMAGE = (ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError, JsonError)
"""What a file that is no encoder, or no state of a training, can lead to."""

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True)
class EncoderShape:
    """What decides the shapes of an encoder's weights.

    Attributes:
        side: Side of the images that it looks at, in pixels.
        channels: Their channels.
        w_dim: Numbers of a w.
        width: Channels of the first feature maps; they double with each halving, up to four times as many.
    """

    side: int
    channels: int
    w_dim: int
    width: int = 48

    def __post_init__(self) -> None:
        sizes = ((self.side, 8, _SIDE), (self.channels, 1, 4), (self.w_dim, 1, 8192), (self.width, 1, 512))
        if not all(type(size) is int and low <= size <= high for size, low, high in sizes):
            raise ValueError("a size of the encoder is out of range")

    @classmethod
    def of(cls, resolution: int, channels: int, w_dim: int, width: int = 48) -> Self:
        """Return the shape for a network's images."""
        return cls(min(resolution, _SIDE), channels, w_dim, width)


class _Block(nn.Module):
    """Two convolutions with a way around them; halves the size."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, before, 3, padding=1)
        self.second = nn.Conv2d(before, after, 3, padding=1)
        self.around = nn.Conv2d(before, after, 1, bias=False)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(functional.leaky_relu(x, 0.2))
        y = self.second(functional.leaky_relu(y, 0.2))
        return functional.avg_pool2d(y + self.around(x), 2)


class Encoder(nn.Module):
    """A residual network from images to w.

    Args:
        shape: Its sizes.

    Reference: He et al. 2016 (residual blocks before the activation).
    """

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.shape = shape
        levels, side = [shape.width], shape.side // 2
        while side > _SMALLEST:
            levels.append(min(2 * levels[-1], 4 * shape.width))
            side //= 2
        self.enter = nn.Conv2d(4 * shape.channels, shape.width, 3, padding=1)
        self.blocks = nn.Sequential(*map(_Block, levels[:-1], levels[1:]))
        self.hidden = nn.Linear(levels[-1] * side * side, 4 * shape.width)
        self.leave = nn.Linear(4 * shape.width, shape.w_dim)
        self.register_buffer("centre", torch.zeros(shape.w_dim))
        self.register_buffer("scale", torch.ones([]))

    def forward(self, images: Tensor) -> Tensor:
        """Return w `[N, w_dim]` of images `[N, C, H, W]` in [-1, 1]."""
        side = self.shape.side
        if images.shape[-2:] != (side, side):
            images = functional.interpolate(images, size=(side, side), mode="area")
        # Four pixels are one place with four times the channels: nearly all the time would go into the first layers.
        x = self.blocks(self.enter(functional.pixel_unshuffle(images, 2))).flatten(1)
        x = self.leave(functional.leaky_relu(self.hidden(functional.leaky_relu(x, 0.2)), 0.2))
        w: Tensor = self.get_buffer("centre") + self.get_buffer("scale") * x
        return w


@dataclass(frozen=True, eq=False)
class EncoderFile:
    """An encoder and what its file says of it.

    Attributes:
        network: The encoder.
        weights_sha256: Hash of the weights of the generator that it is for.
        trained: How it was trained, as JSON types; only ever shown.
        digest: The sha256 of the file; empty where it is not read from one.
    """

    network: Encoder
    weights_sha256: str
    trained: Mapping[str, Any]
    digest: str = ""

    def to_bytes(self) -> bytes:
        """Return the content of its file."""
        about = {
            "format": _FORMAT,
            "version": _VERSION,
            "shape": asdict(self.network.shape),
            "weights_sha256": self.weights_sha256,
            "trained": dict(self.trained),
        }
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()}
        content: bytes = save(tensors, {_KEY: json.dumps(about, sort_keys=True)})
        return content


def read_encoder(path: Path) -> EncoderFile:
    """Read an encoder.

    Raises:
        NoInputError: The file cannot be read, is damaged, or is something else.
    """
    data = read_regular(path, _MAX_BYTES)
    try:
        about = read_metadata(data, _KEY)
        if (about.get("format"), about.get("version")) != (_FORMAT, _VERSION):
            raise ValueError("another format")
        network = Encoder(EncoderShape(**about["shape"]))
        network.load_state_dict(load(data))
        if not _SHA256.fullmatch(about["weights_sha256"]) or not isinstance(about["trained"], dict):
            raise ValueError("it does not say what it is of")
    except DAMAGE as error:
        raise NoInputError(
            "is no encoder, or damaged",
            path=path,
            advice="Make one with 'invert train-encoder'.",
            code="encoder-damaged",
        ) from error
    network.eval().requires_grad_(False)
    return EncoderFile(network, about["weights_sha256"], about["trained"], hashlib.sha256(data).hexdigest())


def read_metadata(data: bytes, key: str) -> dict[str, Any]:
    """Return an entry of the metadata of a safetensors file, which is a JSON object.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: There is none.
    """
    length = int.from_bytes(data[:8], "little")
    if length > min(_MAX_HEADER, len(data)):
        raise ValueError("its header is too long")
    header: Any = read_json(data[8 : 8 + length], _MAX_HEADER)
    about = read_json(header["__metadata__"][key].encode(), _MAX_HEADER)
    if not isinstance(about, dict):
        raise ValueError("no object")
    return about


def encoder_path(network: Path) -> Path:
    """Return where the encoder of a network's file lies: beside it."""
    return network.with_name(f"{network.stem}{SUFFIX}")


class EncoderStart:
    """Start each image at the w that an encoder tells; an `invert.projection.latents.Start`.

    Args:
        encoder: On the device of the projection.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    @torch.no_grad()
    def __call__(self, statistics: LatentStatistics, targets: Targets, restart: int) -> Tensor:
        """Return w `[N, 1, w_dim]`, of each image by itself; what a mask leaves out is black to the encoder."""
        pixels = targets.pixels
        if targets.masks is not None:
            pixels = torch.where(targets.masks > 0, pixels, -1.0)
        return torch.cat([self._encoder(image[None]) for image in pixels])[:, None]
