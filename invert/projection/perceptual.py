"""LPIPS, the perceptual distance, with bundled backbone weights and target features computed once.

Reference: Zhang et al. 2018 ("The Unreasonable Effectiveness of Deep Features as a Perceptual Metric"), version 0.1.
"""

import warnings
from collections.abc import Callable
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from generator.ops.frozen_conv import FrozenConv2d
from generator.ops.lpips_tail import lpips_tail, normalise_features

if TYPE_CHECKING:
    import lpips

__all__ = ["MINIMUM_SIZE", "NETS", "Perceptual", "TargetFeatures"]

NETS = ("vgg", "alex")
TargetFeatures = list[Tensor]
Layer = Callable[[Tensor], Tensor]

MINIMUM_SIZE = {"vgg": 16, "alex": 32}  # px; below that a backbone has nothing left to compare
_COMPARED_SIZE = 256  # px; larger images are averaged down to it (Karras et al. 2020, appendix D)


def _build(net: str) -> "lpips.LPIPS":
    """Build the package's model without its random weights, and fill in the bundled ones."""
    import lpips  # brings torchvision along, which is slow to import

    with warnings.catch_warnings(), torch.device("meta"):
        # torchvision warns that the package uses its old spelling of "no weights".
        warnings.filterwarnings("ignore", message=".*pretrained.*", category=UserWarning, module="torchvision")
        warnings.filterwarnings("ignore", message=".*weight enum.*", category=UserWarning, module="torchvision")
        model = lpips.LPIPS(pretrained=False, net=net, pnet_rand=True, verbose=False)
    with resources.as_file(resources.files("invert") / "weights" / f"lpips_{net}.safetensors") as path:
        stored = load_file(path)
    state = {}
    for name in model.state_dict():
        part, *rest = name.split(".")
        if part == "net":  # net.slice3.14.weight is the backbone's features.14.weight
            state[name] = stored[".".join(["features", *rest[1:]])]
        elif part.startswith("lin") and part != "lins":
            state[name] = stored[part].reshape(1, -1, 1, 1)
        elif part == "lins":
            state[name] = stored[f"lin{rest[0]}"].reshape(1, -1, 1, 1)
    state["scaling_layer.shift"] = torch.tensor([-0.030, -0.088, -0.188])[None, :, None, None]
    state["scaling_layer.scale"] = torch.tensor([0.458, 0.448, 0.450])[None, :, None, None]
    model.load_state_dict({name: value.to(torch.float32) for name, value in state.items()}, assign=True)
    return model.eval().requires_grad_(False)


def _frozen_layers(backbone: nn.Sequential) -> list[Layer]:
    """Return a part of the backbone with its convolutions frozen, each joined with the ReLU after it."""
    layers: list[Layer] = []
    for module in backbone:
        if isinstance(module, nn.Conv2d) and module.stride == (1, 1):
            layers.append(FrozenConv2d(module.weight, module.bias, padding=int(module.padding[0]), relu=True))
        elif isinstance(module, nn.ReLU) and layers and isinstance(layers[-1], FrozenConv2d):
            continue
        elif isinstance(module, nn.Conv2d):
            layers.append(partial(_strided, module))
        else:
            layers.append(module)
    return layers


def _strided(module: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply AlexNet's first convolution in the input's type."""
    bias = None if module.bias is None else module.bias.to(x.dtype)
    return functional.conv2d(x, module.weight.to(x.dtype), bias, module.stride, module.padding)


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
        self.model = _build(net).to(memory_format=torch.channels_last)
        self._slices: list[list[Layer]] | None = None

    def _features(self, images: Tensor, dtype: torch.dtype) -> list[Tensor]:
        x = images.to(torch.float32)
        if max(x.shape[2:]) > _COMPARED_SIZE:
            x = functional.interpolate(x, size=(_COMPARED_SIZE, _COMPARED_SIZE), mode="area")
        if x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        x = self.model.scaling_layer(x[:, :3]).to(dtype).contiguous(memory_format=torch.channels_last)
        if self._slices is None:
            self._slices = [_frozen_layers(getattr(self.model.net, f"slice{i + 1}")) for i in range(5)]
        taps = []
        for layers in self._slices:
            for layer in layers:
                x = layer(x)
            taps.append(x)
        return taps

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._slices = None  # they hold the weights as they were
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    @property
    def _heads(self) -> list[Tensor]:
        return [cast(Tensor, head.model[-1].weight) for head in self.model.lins]  # [1, C, 1, 1] each

    def prepare(self, targets: Tensor, dtype: torch.dtype = torch.float32) -> TargetFeatures:
        """Return what `distance` needs to know of the targets.

        Args:
            targets: `[N, 1, 3 or 4, H, W]` in [-1, 1]; grey is repeated, of four channels alpha is left out.
            dtype: Type of the features, here and in `distance`.
        """
        with torch.no_grad():
            return [normalise_features(x) for x in self._features(targets, dtype)]

    def distance(self, images: Tensor, targets: TargetFeatures) -> tuple[Tensor, Tensor]:
        """Return LPIPS between each image and its target.

        Args:
            images: `[N, C, H, W]` in [-1, 1], of the targets' size; differentiable, also where features are all zero.
            targets: From `prepare`, for N images.

        Returns:
            The distances `[N]`, and their five layers' shares `[N, 5]`.
        """
        layers = []
        for x, target, head in zip(self._features(images, targets[0].dtype), targets, self._heads, strict=True):
            layers.append(lpips_tail(x, target, head.flatten()))
        shares = torch.stack(layers, dim=1)
        return shares.sum(dim=1), shares
