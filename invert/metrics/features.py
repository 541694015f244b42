"""Features that distributions of images are compared by, as feature extractors of torch-fidelity.

References: Simonyan and Zisserman 2015 (VGG16), Krizhevsky 2014 (AlexNet), Szegedy et al. 2016 (Inception v3).
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from invert.errors import NoInputError, UnreadableError, UsageError
from invert.images.opening import read_regular
from invert.metrics.request import Request
from invert.metrics.weights import INCEPTION, find_weights
from invert.projection.perceptual import MINIMUM_SIZE, Perceptual

__all__ = ["EXTRACTORS", "Features", "features_of", "fidelity", "register"]

_MAX_FILE = 1 << 30
_EXTRA = "Install it with: pip install 'invert[metrics]'"


@dataclass(frozen=True)
class _Bundled:
    """An extractor of a backbone of LPIPS.

    Attributes:
        net: The backbone.
        layer: What the layer is called whose feature maps are averaged over the image.
        tap: Which of the backbone's five that is, from 0.
        width: How many features that gives.
        extractor: Its name in torch-fidelity's registry.
    """

    net: str
    layer: str
    tap: int
    width: int
    extractor: str


_BUNDLED = {
    "vgg": _Bundled("vgg", "relu4_3", 3, 512, "invert-vgg"),
    "alex": _Bundled("alex", "relu5", 4, 256, "invert-alex"),
}
EXTRACTORS = tuple(one.extractor for one in _BUNDLED.values())
"""Names of this project's extractors in torch-fidelity's registry, once `register` was called."""

_RESIZE = "none up to 256 px, pixels averaged down to 256 above"


@dataclass(frozen=True, eq=False)
class Features:
    """What images are compared by, settled.

    Attributes:
        extractor: Name in torch-fidelity's registry.
        layers: Which of its features each metric takes, by torch-fidelity's word for the metric; all of them are
            computed together.
        widths: How many numbers each of these features has.
        sha256: Hash of the weights.
        resize: How images are brought to size.
        minimum: Side in pixels of the smallest images that it takes.
        arguments: What the extractor is made with.
    """

    extractor: str
    layers: Mapping[str, str]
    widths: Mapping[str, int]
    sha256: str
    resize: str
    minimum: int
    arguments: Mapping[str, Any] = field(repr=False)

    def protocol(self, metric: str) -> dict[str, Any]:
        """Return what a result's record says of the features of a metric."""
        return {
            "features": f"{self.extractor}/{self.layers[metric]}",
            "features_sha256": self.sha256,
            "resize": self.resize,
            "torch_fidelity": metadata.version("torch-fidelity"),
        }

    def make(self, device: str) -> Any:
        """Return the extractor, on its device."""
        create: Any = fidelity("utils").create_feature_extractor
        wanted = sorted(set(self.layers.values()))
        return create(self.extractor, wanted, cuda=False, verbose=False, **self.arguments).to(device)


def fidelity(module: str) -> ModuleType:
    """Return a module of torch-fidelity, which is an extra.

    Raises:
        UsageError: It is not installed.
    """
    import importlib

    try:
        register()
        return importlib.import_module(f"torch_fidelity.{module}")
    except ImportError as error:
        missing = error.name or "torch_fidelity"
        reason = f"{missing} is not installed, which computes metrics of features"
        raise UsageError(reason, advice=f"{_EXTRA}.", code="metrics-extra") from error


@cache
def register() -> None:
    """Enter this project's extractors into torch-fidelity's registry: its own functions and commands then know them.

    Raises:
        ImportError: torch-fidelity is not installed.
    """
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase
    from torch_fidelity.registry import register_feature_extractor

    class LpipsFeatures(FeatureExtractorBase):  # type: ignore[misc]
        """Feature maps of a backbone of LPIPS, averaged over the image."""

        bundled: _Bundled

        def __init__(self, name: str, features_list: Sequence[str], **arguments: Any) -> None:
            super().__init__(name, features_list)
            self.perceptual = Perceptual(self.bundled.net)
            weights = arguments.get("convolutions")
            if weights is not None:
                self.perceptual.load_backbone(weights)

        def forward(self, images: Tensor) -> tuple[Tensor]:
            maps = self.perceptual.features(images.to(torch.float32) / 127.5 - 1)[self.bundled.tap]
            return (maps.mean(dim=[2, 3]).to(torch.float32),)

        @classmethod
        def get_provided_features_list(cls) -> tuple[str]:
            return (cls.bundled.layer,)

        @classmethod
        def get_default_feature_layer_for_metric(cls, metric: str) -> str:
            return cls.bundled.layer

        @staticmethod
        def can_be_compiled() -> bool:
            return False

    for one in _BUNDLED.values():
        register_feature_extractor(one.extractor, type(f"Lpips_{one.net}", (LpipsFeatures,), {"bundled": one}))


def features_of(request: Request) -> Features:
    """Return the features that a metric of a request compares; those of several metrics are the same object.

    Raises:
        UsageError: Weights are missing or are other weights, or torch-fidelity is not installed.
        NoInputError: A file of weights holds something else.
    """
    fidelity("registry")
    name = request.chosen.features
    key = f"settled {name}"
    if key not in request.shared:
        if name == "inception":
            request.shared[key] = _inception(request)
        elif name == "file" and request.features_file is not None:
            request.shared[key] = _of_file(request.features_file)
        else:
            request.shared[key] = _bundled(_BUNDLED[name], _bundled_hash(name), {})
    found: Features = request.shared[key]
    return found


def _inception(request: Request) -> Features:
    data = find_weights(INCEPTION, request.weights, download=request.download)
    layers = {"fid": "2048", "kid": "2048", "prc": "2048", "isc": "logits_unbiased"}
    # A file of its own to read, for what was hashed is what has to be read.
    arguments = {"feature_extractor_weights_path": io.BytesIO(data)}
    widths = {"2048": 2048, "logits_unbiased": 1008}
    return Features("inception-v3-compat", layers, widths, INCEPTION.sha256, "TensorFlow 1's to 299", 1, arguments)


def _bundled(one: _Bundled, sha256: str, arguments: Mapping[str, Any]) -> Features:
    layers = dict.fromkeys(("fid", "kid", "prc"), one.layer)
    return Features(
        one.extractor, layers, {one.layer: one.width}, sha256, _RESIZE, MINIMUM_SIZE[one.net], dict(arguments)
    )


def _bundled_hash(net: str) -> str:
    with resources.as_file(resources.files("invert") / "weights" / f"lpips_{net}.safetensors") as path:
        return hashlib.sha256(read_regular(path, _MAX_FILE)).hexdigest()


def _of_file(path: Path) -> Features:
    """Return features of the user's own convolution weights of VGG16 or AlexNet, under torchvision's names."""
    try:
        data = read_regular(path, _MAX_FILE)
        weights = load_safetensors(data)
    except UnreadableError:
        raise
    except Exception as error:  # safetensors promises no list of errors
        raise NoInputError("is no safetensors file", path=path, code="features-file") from error
    for one in _BUNDLED.values():
        expected = Perceptual(one.net).backbone_shapes()
        if all(name in weights and tuple(weights[name].shape) == shape for name, shape in expected.items()):
            kept = {name: weights[name].to(torch.float32) for name in expected}
            if not all(bool(value.isfinite().all()) for value in kept.values()):
                raise NoInputError("has weights that are not finite", path=path, code="features-file")
            return _bundled(one, hashlib.sha256(data).hexdigest(), {"convolutions": kept})
    reason = "has not the convolutions of VGG16 or AlexNet under torchvision's names (features.0.weight ...)"
    raise NoInputError(reason, path=path, code="features-file")
