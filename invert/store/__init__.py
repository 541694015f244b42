"""Results of projections: their fields, files, folders, journal and locks."""

__all__: list[str] = []
