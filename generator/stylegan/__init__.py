"""The first StyleGAN (Karras et al. 2019): its settings, layers and networks."""

__all__: list[str] = []
