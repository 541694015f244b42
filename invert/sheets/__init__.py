"""The figures of the StyleGAN paper, of any network: style mixing, truncation, noise, interpolation."""

__all__: list[str] = []
