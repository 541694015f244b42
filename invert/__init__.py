"""GAN inversion and source attribution for StyleGAN2 networks."""

__all__ = ["__version__"]

__version__ = "0.1.0"
