"""Write the golden generator the way other repositories lay out the same network.

From facts: names, shapes and orientations of the published codes; `rosinality_generator` of `writers` is the base of
those that descend from it.
"""

import re
from typing import Any

import numpy as np
import torch

from tests.loaders import writers
from tests.loaders.writers import Arrays, golden

State = dict[str, torch.Tensor]


def square() -> Arrays:
    """Return the golden generator with one width for z and w, which those codes have."""
    generator, _, _, _ = golden("skip_resnet")
    generator["mapping.fc0.weight"] = np.resize(generator["mapping.fc0.weight"], [24, 24])
    return generator


def tensors(arrays: Arrays) -> State:
    return {key: torch.from_numpy(np.array(value, order="C")) for key, value in arrays.items()}


def rosinality() -> State:
    return tensors(writers.rosinality_generator(square()))


def ada() -> State:
    return tensors(square())


def average() -> torch.Tensor:
    return torch.from_numpy(square()["mapping.w_avg"])


def prefixed(prefix: str, state: State) -> State:
    return {f"{prefix}{key}": value for key, value in state.items()}


def mmgeneration(*, is_old: bool = False, is_rgb: bool = False) -> State:
    """Return the state of MMGeneration's generator.

    Args:
        is_old: Whether biases and scaled weights stand as in its first files.
        is_rgb: Whether its images are RGB, as after a conversion of published weights.
    """
    made: State = {}
    for name, value in rosinality().items():
        found = re.sub(r"^style\.(\d+)\.weight$", r"style_mapping.\1.linear.weight_orig", name)
        found = re.sub(r"^style\.(\d+)\.bias$", r"style_mapping.\1." + ("linear." if is_old else "") + "bias", found)
        found = re.sub(r"^input\.input$", "constant_input.input", found)
        found = re.sub(r"^noises\.noise_(\d+)$", r"injected_noise_\1", found)
        found = found.replace(".noise.weight", ".noise_injector.weight")
        scaled = ".style_modulation." + ("weight_orig" if is_old else "linear.weight_orig")
        found = found.replace(".modulation.weight", scaled).replace(".modulation.bias", ".style_modulation.bias")
        found = found if is_old else re.sub(r"\.conv\.weight$", ".conv.weight_orig", found)
        if not is_rgb and re.fullmatch(r"to_rgb.*\.conv\.weight(_orig)?", found):
            value = value.flip(1)
        if not is_rgb and re.fullmatch(r"to_rgb(1|s\.\d+)\.bias", found):
            value = value.flip(1)
        made[found] = value
    return made


def numbered(*, is_hammer: bool) -> State:
    """Return the state of the generator of genforce, or of Hammer."""
    made: State = {}
    for name, value in tensors(square()).items():
        if name == "mapping.w_avg":
            made["w_avg" if is_hammer else "truncation.w_avg"] = value
        elif name.startswith("mapping."):
            made[name.replace("fc", "dense")] = value
        elif name == "synthesis.b4.const":
            made["synthesis.early_layer.const"] = value[None]
        elif not name.endswith("resample_filter"):
            match = re.fullmatch(r"synthesis\.b(\d+)\.(conv0|conv1|torgb)\.(.+)", name)
            assert match, name
            block, layer, kind = int(match[1]).bit_length() - 3, match[2], match[3]
            place = f"output{block}" if layer == "torgb" else f"layer{2 * block - (layer == 'conv0')}"
            if kind == "noise_const":
                value = value[None, None]
            if not is_hammer and kind == "affine.bias":
                value = value - 1
            if not is_hammer and kind == "weight" and layer == "conv0":
                value = value.flip(2, 3)
            made[f"synthesis.{place}.{kind.replace('affine', 'style').replace('noise_const', 'noise')}"] = value
    return made


def lucidrains() -> dict[str, Any]:
    return {"GAN": {"S.net.0.weight": torch.ones(2, 2), "G.initial_conv.weight": torch.ones(2, 2, 3, 3)}, "version": 1}
