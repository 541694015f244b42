"""A training run as a folder: settings, log, snapshots, and how it is resumed."""

__all__: list[str] = []
