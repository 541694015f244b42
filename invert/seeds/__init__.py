"""From recovered latents to seeds: which random numbers an image was generated from."""

__all__: list[str] = []
