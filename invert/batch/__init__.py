"""Many projections into one HDF5 file: a journal of finished images beside it, packed at the end."""

__all__: list[str] = []
