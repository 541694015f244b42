"""Projections in one HDF5 file: schema, writing, reading, inspection and verification."""

__all__: list[str] = []
