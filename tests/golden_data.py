"""Golden arrays and the networks they describe."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from generator.config import GeneratorConfig, MappingConfig
from generator.networks import Generator
from generator.stylegan2.config import DiscriminatorConfig, SynthesisConfig
from generator.stylegan2.discriminator import Discriminator

GOLDEN = Path(__file__).parent / "golden"
NETWORKS = ("skip_resnet", "resnet_skip", "orig_orig", "conditional")


class Arrays:
    """The arrays of one golden file, as tensors."""

    def __init__(self, name: str) -> None:
        with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
            self.data = dict(file)

    def __contains__(self, key: str) -> bool:
        return key in self.data

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(self.data[key].copy())

    def optional(self, key: str) -> Tensor | None:
        return self[key] if key in self.data else None

    def json(self, key: str) -> Any:
        return json.loads(str(self.data[key]))

    def state(self, prefix: str) -> dict[str, Tensor]:
        """Tensors under `prefix`, named without it; the resampling filters follow from the settings."""
        names = [k for k in self.data if k.startswith(prefix) and not k.endswith("resample_filter")]
        return {name.removeprefix(prefix): self[name] for name in names}


def load_networks(name: str) -> tuple[Arrays, Generator, Discriminator]:
    """Return golden network `name` with its arrays."""
    arrays = Arrays(f"network_{name}")
    c = arrays.json("config")
    image = (c["img_resolution"], c["img_channels"], c["channel_base"], c["channel_max"])
    mapping = MappingConfig(c["z_dim"], c["c_dim"], c["w_dim"], c["mapping_layers"])
    synthesis = SynthesisConfig(c["w_dim"], *image, architecture=c["g_architecture"])
    generator = Generator(GeneratorConfig(mapping, synthesis))
    discriminator = Discriminator(
        DiscriminatorConfig(
            c["c_dim"], *image, architecture=c["d_architecture"], mbstd_group_size=c["mbstd_group_size"]
        )
    )
    generator.load_state_dict(arrays.state("G."))
    discriminator.load_state_dict(arrays.state("D."))
    return arrays, generator, discriminator


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Largest difference as a share of the expected array's largest value."""
    return float((actual.detach() - expected).abs().max() / expected.abs().max())
