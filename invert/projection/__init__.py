"""Projection: find the latent code and noise maps that make a network generate an image again."""

__all__: list[str] = []
