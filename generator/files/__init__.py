"""Network files, read safely: nothing in a file is ever run."""

__all__: list[str] = []
