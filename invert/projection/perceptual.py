"""LPIPS, the perceptual distance, with bundled backbone weights and target features computed once.

Reference: Zhang et al. 2018 ("The Unreasonable Effectiveness of Deep Features as a Perceptual Metric"), version 0.1.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from generator.ops.frozen_conv import FrozenConv2d
from generator.ops.lpips_layers import FrozenMaxPool2d, FrozenStridedConv2d, Layer, LpipsLayers
from generator.ops.lpips_tail import normalise_features

__all__ = ["MINIMUM_SIZE", "NETS", "Perceptual", "TargetFeatures"]

TargetFeatures = list[Tensor]

MINIMUM_SIZE = {"vgg": 16, "alex": 32}  # px; below that a backbone has nothing left to compare
_COMPARED_SIZE = 256  # px; larger images are averaged down to it (Karras et al. 2020, appendix D)


@dataclass(frozen=True)
class _Backbone:
    """Layers of a classifier from which features are taken.

    Attributes:
        layers: Numbered as in torchvision's `features`, whose names the weights have: (channels in, channels out,
            kernel, stride, padding) of a convolution, (kernel, stride) of a maximum, None for a ReLU.
        ends: Where each of the five parts ends, a ReLU whose values are compared.
    """

    layers: tuple[tuple[int, ...] | None, ...]
    ends: tuple[int, ...]

    def parts(self) -> list[nn.Sequential]:
        """Return the five parts, without weights."""
        begins = (0, *self.ends)
        return [
            nn.Sequential(OrderedDict((str(i), self._layer(i)) for i in range(begin, end)))
            for begin, end in zip(begins, self.ends, strict=False)
        ]

    def _layer(self, number: int) -> nn.Module:
        described = self.layers[number]
        if described is None:
            return nn.ReLU(inplace=True)
        if len(described) == 2:
            return nn.MaxPool2d(*described)
        channels, wider, kernel, stride, padding = described
        return nn.Conv2d(channels, wider, kernel, stride, padding)


def _vgg16() -> _Backbone:
    layers: list[tuple[int, ...] | None] = []
    channels = 3
    for wider, convolutions in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(convolutions):
            layers += [(channels, wider, 3, 1, 1), None]
            channels = wider
        layers.append((2, 2))
    return _Backbone(tuple(layers), (4, 9, 16, 23, 30))


_ALEXNET = _Backbone(
    (
        *((3, 64, 11, 4, 2), None, (3, 2)),
        *((64, 192, 5, 1, 2), None, (3, 2)),
        *((192, 384, 3, 1, 1), None),
        *((384, 256, 3, 1, 1), None),
        *((256, 256, 3, 1, 1), None),
    ),
    (2, 5, 8, 10, 12),
)

_BACKBONES = {"vgg": _vgg16(), "alex": _ALEXNET}
NETS = tuple(_BACKBONES)
"""The backbones of LPIPS: VGG16 (Simonyan and Zisserman 2015) and AlexNet (Krizhevsky 2014)."""


class _Features(nn.Module):
    """What a backbone has after each of its five parts."""

    def __init__(self, backbone: _Backbone) -> None:
        super().__init__()
        for number, part in enumerate(backbone.parts(), 1):
            self.add_module(f"slice{number}", part)

    def parts(self) -> list[nn.Sequential]:
        """Return the five parts."""
        return [cast(nn.Sequential, part) for part in self.children()]

    def forward(self, x: Tensor) -> list[Tensor]:
        taps = []
        for part in self.parts():
            x = part(x)
            taps.append(x)
        return taps


class _Scaling(nn.Module):
    """From [-1, 1] to the values that the backbones were trained with."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188])[None, :, None, None])
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450])[None, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.shift) / self.scale


def _torchvision(name: str) -> str:
    """Return torchvision's name of a weight: slice3.14.weight is features.14.weight."""
    return f"features.{name.split('.', 1)[1]}"


class _Model(nn.Module):
    """LPIPS's own arrangement of layers, with the bundled weights, as far as it is needed here."""

    def __init__(self, net: str) -> None:
        super().__init__()
        with resources.as_file(resources.files("invert") / "weights" / f"lpips_{net}.safetensors") as path:
            stored = {name: value.to(torch.float32) for name, value in load_file(path).items()}
        with torch.device("meta"):  # no random weights are made
            self.net = _Features(_BACKBONES[net])
            heads = [nn.Conv2d(stored[f"lin{i}"].numel(), 1, 1, bias=False) for i in range(5)]
            self.lins = nn.ModuleList(heads)
        self.scaling_layer = _Scaling()
        backbone = {name: stored[_torchvision(name)] for name in self.net.state_dict()}
        self.net.load_state_dict(backbone, assign=True)
        lins = {f"{i}.weight": stored[f"lin{i}"].reshape(1, -1, 1, 1) for i in range(5)}
        self.lins.load_state_dict(lins, assign=True)
        self.eval().requires_grad_(False)


def _frozen_layers(backbone: nn.Sequential) -> list[Layer]:
    """Return a part of the backbone with its convolutions frozen, each joined with the ReLU after it."""
    layers: list[Layer] = []
    for module in backbone:
        if isinstance(module, nn.MaxPool2d):
            layers.append(FrozenMaxPool2d(cast(int, module.kernel_size), cast(int, module.stride)))
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            stride, padding = int(module.stride[0]), int(module.padding[0])
            if stride == 1:
                layers.append(FrozenConv2d(module.weight, module.bias, padding=padding, relu=True))
            else:
                layers.append(FrozenStridedConv2d(module.weight, module.bias, stride, padding))
    return layers


class Perceptual(nn.Module):
    """LPIPS distances from stored targets.

    Args:
        net: Backbone, "vgg" (the paper's choice) or "alex".

    Raises:
        ValueError: Unknown backbone.
    """

    def __init__(self, net: str = "vgg") -> None:
        super().__init__()
        if net not in NETS:
            raise ValueError(f"LPIPS backbone {net!r} is not one of {', '.join(NETS)}")
        self.net = net
        # On a CPU the convolutions run fastest with the channels innermost.
        self.model = _Model(net).to(memory_format=torch.channels_last)
        self._layers: LpipsLayers | None = None

    def _frozen(self) -> LpipsLayers:
        """Return the layers as they are used, put together once."""
        if self._layers is None:
            scaling, parts = self.model.scaling_layer, [_frozen_layers(part) for part in self.model.net.parts()]
            heads = [cast(Tensor, head.weight).flatten() for head in self.model.lins]  # [C] each
            self._layers = LpipsLayers(scaling.shift, scaling.scale, parts, heads)
        return self._layers

    def _compared(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        """Return images as the backbone takes them, `[N, 3, H, W]`, at most 256 px wide and high."""
        x = images.to(torch.float64 if dtype == torch.float64 else torch.float32)
        longest = max(x.shape[2:])
        if longest > _COMPARED_SIZE:
            size = [max(side * _COMPARED_SIZE // longest, 1) for side in x.shape[2:]]
            x = functional.interpolate(x, size=size, mode="area")
        if x.shape[1] == 1:
            return x.expand(-1, 3, -1, -1)
        return x if x.shape[1] == 3 else x[:, :3]

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the backbone's feature maps after each of its five parts, of images as `prepare` takes them."""
        with torch.no_grad():
            return self._frozen().features(self._compared(images, torch.float32), torch.float32)

    def backbone_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the backbone's weights, under torchvision's names such as "features.0.weight"."""
        return {_torchvision(name): tuple(value.shape) for name, value in self.model.net.state_dict().items()}

    def load_backbone(self, weights: Mapping[str, Tensor]) -> None:
        """Take other weights for the backbone.

        Args:
            weights: float32, by the names of `backbone_shapes`.
        """
        own = {name: weights[_torchvision(name)] for name in self.model.net.state_dict()}
        self.model.net.load_state_dict(own)
        self._layers = None

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._layers = None  # they hold the weights as they were
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def prepare(self, targets: Tensor, dtype: torch.dtype = torch.float32) -> TargetFeatures:
        """Return what `distance` needs to know of the targets.

        Args:
            targets: `[N, 1, 3 or 4, H, W]` in [-1, 1]; grey is repeated, of four channels alpha is left out.
            dtype: Type of the features, here and in `distance`.
        """
        with torch.no_grad():
            features = self._frozen().features(self._compared(targets, dtype), dtype)
            return [normalise_features(x) for x in features]

    def distance(self, images: Tensor, targets: TargetFeatures) -> tuple[Tensor, Tensor]:
        """Return LPIPS between each image and its target.

        Args:
            images: `[N, C, H, W]` in [-1, 1], of the targets' size; differentiable, also where features are all zero.
            targets: From `prepare`, for N images.

        Returns:
            The distances `[N]`, and their five layers' shares `[N, 5]`.
        """
        return self._frozen()(self._compared(images, targets[0].dtype), targets)
