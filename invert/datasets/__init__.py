"""Training images from folders, zips and IDX files, and the zip that `invert dataset` makes of them."""

__all__: list[str] = []
