"""The network that settings describe, of whichever family: the one place that asks which."""

import torch
from torch import Tensor, nn

from generator.config import DiscriminatorSettings, GeneratorConfig, SynthesisSettings
from generator.mapping import MappingNetwork
from generator.noise_inputs import NoiseInput
from generator.stylegan.config import StyleGANDiscriminatorConfig, StyleGANSynthesisConfig
from generator.stylegan.discriminator import StyleGANDiscriminator
from generator.stylegan.synthesis import StyleGANSynthesisNetwork
from generator.stylegan2.discriminator import Discriminator
from generator.stylegan2.synthesis import SynthesisNetwork

__all__ = [
    "AnyDiscriminator",
    "AnySynthesis",
    "Generator",
    "make_discriminator",
    "make_mapping",
    "make_synthesis",
]

AnySynthesis = SynthesisNetwork | StyleGANSynthesisNetwork
AnyDiscriminator = Discriminator | StyleGANDiscriminator


def make_mapping(config: GeneratorConfig) -> MappingNetwork:
    """Return the new mapping network of a generator."""
    stylegan = isinstance(config.synthesis, StyleGANSynthesisConfig)
    return MappingNetwork(config.mapping, gain_in_weight=stylegan)


def make_synthesis(config: SynthesisSettings) -> AnySynthesis:
    """Return a new synthesis network."""
    if isinstance(config, StyleGANSynthesisConfig):
        return StyleGANSynthesisNetwork(config)
    return SynthesisNetwork(config)


def make_discriminator(config: DiscriminatorSettings) -> AnyDiscriminator:
    """Return a new discriminator."""
    if isinstance(config, StyleGANDiscriminatorConfig):
        return StyleGANDiscriminator(config)
    return Discriminator(config)


class Generator(nn.Module):
    """A StyleGAN or StyleGAN2 generator.

    Args:
        config: Its settings.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.mapping = make_mapping(config)
        self.synthesis = make_synthesis(config.synthesis)

    @property
    def num_ws(self) -> int:
        """Number of styles the synthesis network takes."""
        return self.synthesis.num_ws

    def broadcast(self, w: Tensor) -> Tensor:
        """Return styles `[N, num_ws, w_dim]` of w `[N, w_dim]` or `[N, 1, w_dim]`; styles stay as they are."""
        if w.ndim == 2:
            w = w[:, None]
        return w.expand(-1, self.num_ws, -1)

    def mapping_ws(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Map z `[N, z_dim]`, c `[N, c_dim]` to styles `[N, num_ws, w_dim]`, truncated.

        Args:
            z: Latents. c: Labels of a conditional network.
            truncation_psi: 1 leaves w as it is, 0 gives `w_avg`.
            truncation_cutoff: Number of layers, from the coarsest, that are truncated; None is all.

        Reference: Karras et al. 2019, section "truncation trick in W" (appendix B).
        """
        ws = self.broadcast(self.mapping(z, c))
        return self.truncate(ws, truncation_psi, truncation_cutoff)

    def truncate(self, ws: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
        """Move styles `[N, num_ws, w_dim]` towards the mean w, w_avg + psi (w - w_avg).

        Args:
            ws: Styles, of z or of a projection.
            psi, cutoff: See `mapping_ws`.

        Reference: Karras et al. 2019, section "truncation trick in W" (appendix B).
        """
        if psi == 1:
            return ws
        count = self.num_ws if cutoff is None else cutoff
        truncated = self.mapping.w_avg.lerp(ws[:, :count], psi)
        return torch.cat([truncated, ws[:, count:]], dim=1)

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        noise: NoiseInput = "const",
        rng: torch.Generator | None = None,
    ) -> Tensor:
        """Draw `[N, img_channels, R, R]` in about [-1, 1]."""
        ws = self.mapping_ws(z, c, truncation_psi, truncation_cutoff)
        image: Tensor = self.synthesis(ws, noise, rng)
        return image
