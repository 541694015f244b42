"""The networks that a run starts with: new ones, or with the layers of a network of before.

References: Karras et al. 2020, Training Generative Adversarial Networks with Limited Data, section 4.2 (transfer
learning); Mo et al. 2020 (FreezeD: the discriminator's highest resolutions keep their weights).
"""

import copy
import re
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from generator.bases import DiscriminatorBase
from generator.errors import ConfigError
from generator.families import ARCHITECTURES, FAMILIES, family_of
from generator.layers import EqualizedLinear
from generator.networks import Generator, make_discriminator
from generator.settings import rule_of
from generator.training.config import TrainConfig
from generator.training.images import stream_seed
from generator.training.optimiser import update_ema
from generator.training.spectral import add_spectral_norm, plain_weights

if TYPE_CHECKING:
    from generator.files.state import LoadedNetwork

__all__ = ["Networks", "adopted_settings", "frozen_layers", "new_networks", "take_over"]

Networks = tuple[Generator, DiscriminatorBase, Generator]
"""The generator, the discriminator and the generator's average."""

_BLOCK = re.compile(r"(?:.*\.)?b([0-9]+)\.")


def new_networks(
    config: TrainConfig, device: torch.device, start: "LoadedNetwork | None" = None
) -> tuple[Networks, list[str]]:
    """Return the generator, the discriminator and the generator's average, as they begin.

    Args:
        config: Settings of the run.
        device: Device on which they are trained.
        start: The network whose layers they take over; None: all layers are new.

    Returns:
        The networks, and the layers that start afresh beside those that were taken over, see `take_over`.

    Raises:
        ConfigError: That network is of another family, or not the one that the settings name.
    """
    if config.start != ("" if start is None else start.provenance.sha256):
        raise ConfigError("start: the network to start from is not the one that the settings name")
    fresh: list[str] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed("start", config.seed))
        generator = Generator(config.generator_config())
        discriminator = make_discriminator(config.discriminator_config())
        if start is not None:
            fresh = take_over(generator, discriminator, start)
        average = copy.deepcopy(generator).eval().requires_grad_(False)
        if "g" in config.spectral_norm:
            add_spectral_norm(generator)
            update_ema(average, plain_weights(generator), {}, 0.0)
        if "d" in config.spectral_norm:
            add_spectral_norm(discriminator)
    for network in (generator, discriminator, average):
        network.to(device).to(memory_format=torch.channels_last)
    return (generator, discriminator, average), fresh


def adopted_settings(start: "LoadedNetwork") -> dict[str, Any]:
    """Return the settings of a run whose networks are built like those of a file, as far as a run can have them.

    Args:
        start: The network.

    Raises:
        ConfigError: Such a network is not trained.
    """
    mapping, synthesis = start.generator.config.mapping, cast(Any, start.generator.config.synthesis)
    architecture = synthesis.architecture
    if architecture not in ARCHITECTURES:
        raise ConfigError(f"a {architecture!r} network that is none of {', '.join(ARCHITECTURES)} cannot be trained")
    # What the preset has for another family's networks, or for ones that show nothing yet, does not count.
    settings: dict[str, Any] = {
        **{name: value for family in FAMILIES for name, value in family.OWN_SETTINGS.items()},
        "blur": TrainConfig.blur,
        "blur_warmup_sigma": TrainConfig.blur_warmup_sigma,
        "start": start.provenance.sha256,
        "z_dim": mapping.z_dim,
        "w_dim": mapping.w_dim,
        "mapping_layers": mapping.num_layers,
        "mapping_lr_multiplier": mapping.lr_multiplier,
        "generator_architecture": architecture,
        "use_noise": synthesis.use_noise,
        "growing": False,
        **family_of(synthesis).training_settings(synthesis),
    }
    clamps = [getattr(synthesis, "conv_clamp", None)]
    if start.discriminator is not None:
        discriminator = cast(Any, start.discriminator.config)
        base, limit = rule_of(discriminator.widths)
        settings["discriminator_architecture"] = discriminator.architecture
        settings["discriminator_channel_base"], settings["discriminator_channel_max"] = base, limit
        if discriminator.c_dim and getattr(discriminator, "mapping_layers", mapping.num_layers) != mapping.num_layers:
            settings["discriminator_mapping_layers"] = discriminator.mapping_layers
        settings["mbstd_channels"] = discriminator.mbstd_channels
        if discriminator.mbstd_group_size is not None:
            settings["mbstd_group_size"] = discriminator.mbstd_group_size
        clamps.append(getattr(discriminator, "conv_clamp", None))
    elif architecture == "stylegan":
        settings["discriminator_architecture"] = architecture
    settings["conv_clamp"] = float(max((clamp for clamp in clamps if clamp), default=0.0))
    return settings


def take_over(generator: Generator, discriminator: DiscriminatorBase, start: "LoadedNetwork") -> list[str]:
    """Copy the layers of a network that fit into new ones.

    A layer fits where it has the same name, which includes its resolution, and tensors of the same shapes.

    Args:
        generator: The new generator, which is changed.
        discriminator: The new discriminator, which is changed.
        start: The network whose layers are taken over.

    Returns:
        The layers that start afresh, such as "G synthesis.b64.conv0".

    Raises:
        ConfigError: The generator is of another family.
    """
    ours, theirs = generator.config.synthesis, start.generator.config.synthesis
    if family_of(ours) is not family_of(theirs):
        raise ConfigError(
            "it is a network of another family than --generator: leave that out, or choose another --from"
        )
    fresh = [f"G {name}" for name in _copy(generator, start.generator)]
    other: nn.Module | None = start.discriminator
    if other is not None and family_of(start.discriminator.config) is not family_of(discriminator.config):  # type: ignore[union-attr]
        other = None
    fresh += [f"D {name}" for name in _copy(discriminator, other)]
    return fresh


@torch.no_grad()
def _copy(network: nn.Module, other: nn.Module | None) -> list[str]:
    """Copy layers that fit, and return the names of the others."""
    theirs = {} if other is None else dict(other.state_dict())
    scales = _learning_rates(other)
    fresh = []
    for layer, tensors in _layers(network).items():
        found = {name: theirs[f"{layer}.{name}"] for name in tensors if f"{layer}.{name}" in theirs}
        if any(name not in found or found[name].shape != value.shape for name, value in tensors.items()):
            fresh.append(layer)
            continue
        # weights are kept divided by their learning rate
        scale = scales.get(layer, 1.0) / _learning_rates(network).get(layer, 1.0)
        for name, value in tensors.items():
            value.copy_(found[name] * scale if name in ("weight", "bias") and scale != 1 else found[name])
    return fresh


def _layers(network: nn.Module) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of each layer by its name, in the order in which the layers are built."""
    layers: dict[str, dict[str, Tensor]] = {}
    for name, value in network.state_dict(keep_vars=True).items():
        layer, _, tensor = name.rpartition(".")
        layers.setdefault(layer, {})[tensor] = value.detach()
    return layers


def _learning_rates(network: nn.Module | None) -> dict[str, float]:
    modules = [] if network is None else network.named_modules()
    return {name: module.bias_gain for name, module in modules if isinstance(module, EqualizedLinear)}


def frozen_layers(discriminator: nn.Module, count: int) -> tuple[str, ...]:
    """Return how the names of the parameters begin that keep the weights they start with.

    Args:
        discriminator: The discriminator.
        count: Number of layers that are frozen, those that see the image first.

    Raises:
        ConfigError: The discriminator has no more layers than that.
    """
    layers: dict[int, dict[str, None]] = {}
    for name, _ in discriminator.named_parameters():
        found = _BLOCK.match(name)
        if found is not None:
            layer = name.split(".parametrizations.")[0].removesuffix(".weight").removesuffix(".bias")
            layers.setdefault(int(found[1]), {})[f"{layer}."] = None
    from_the_image = [layer for resolution in sorted(layers, reverse=True) for layer in layers[resolution]]
    if count >= len(from_the_image):
        raise ConfigError(f"freeze_d is {count}, but the discriminator has {len(from_the_image)} layers to train")
    return tuple(from_the_image[:count])
