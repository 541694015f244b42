"""The commands, one file each. None imports torch before it is run."""

__all__: list[str] = []
