"""StyleGAN2 (Karras et al. 2020): its settings, layers and networks."""

__all__: list[str] = []
