"""Networks of whichever family, as their settings describe them."""

import torch
from torch import Tensor, nn

from generator.bases import DiscriminatorBase, NoiseInput
from generator.config import DiscriminatorSettings, GeneratorConfig
from generator.families import family_of

__all__ = ["Generator", "make_discriminator"]


def make_discriminator(config: DiscriminatorSettings) -> DiscriminatorBase:
    """Return a new discriminator."""
    return family_of(config).make_discriminator(config)


class Generator(nn.Module):
    """A generator z, c -> image: a mapping and a synthesis network.

    Args:
        config: Settings of both networks.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        family = family_of(config.synthesis)
        self.mapping = family.make_mapping(config.mapping)
        self.synthesis = family.make_synthesis(config.synthesis)

    @property
    def num_ws(self) -> int:
        """Number of styles that the synthesis network takes."""
        return self.synthesis.num_ws

    def broadcast(self, w: Tensor) -> Tensor:
        """Give every layer its style.

        Args:
            w: One style for all layers, `[N, w_dim]` or `[N, 1, w_dim]`, or one for each, `[N, num_ws, w_dim]`.

        Returns:
            Styles `[N, num_ws, w_dim]`.
        """
        return (w[:, None] if w.ndim == 2 else w).expand(-1, self.num_ws, -1)

    def mapping_ws(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Map latents and labels to truncated styles.

        Args:
            z: Latents `[N, z_dim]`.
            c: Labels `[N, c_dim]` of a conditional network.
            truncation_psi: 1 leaves w as it is, 0 gives `w_avg`.
            truncation_cutoff: Number of layers, from the coarsest, that are truncated; None: all.

        Returns:
            Styles `[N, num_ws, w_dim]`.

        Reference: Karras et al. 2019, section "truncation trick in W" (appendix B).
        """
        ws = self.broadcast(self.mapping(z, c))
        return self.truncate(ws, truncation_psi, truncation_cutoff)

    def truncate(self, ws: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
        """Move styles towards the mean w: w_avg + psi (w - w_avg).

        Args:
            ws: Styles `[N, num_ws, w_dim]`, mapped from z or found by a projection.
            psi: 1 leaves them as they are, 0 gives `w_avg`.
            cutoff: Number of layers, from the coarsest, that are truncated; None: all.

        Returns:
            Styles `[N, num_ws, w_dim]`.

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
        """Generate images from latents and labels.

        Args:
            z: Latents `[N, z_dim]`.
            c: Labels `[N, c_dim]` of a conditional network.
            truncation_psi: 1 leaves w as it is, 0 gives `w_avg`.
            truncation_cutoff: Number of layers, from the coarsest, that are truncated; None: all.
            noise: What the noise inputs are given, see `SynthesisBase.noise_maps`.
            rng: Source of random noise, on the CPU; None: torch's global one.

        Returns:
            float32 `[N, img_channels, R, R]`, in about [-1, 1].
        """
        ws = self.mapping_ws(z, c, truncation_psi, truncation_cutoff)
        image: Tensor = self.synthesis(ws, noise, rng)
        return image
