"""A training run as a folder: settings, log, snapshots, and how it is taken up again."""

__all__: list[str] = []
