"""Many projections into one HDF5 file: a journal of finished pictures beside it, packed at the end."""

__all__: list[str] = []
