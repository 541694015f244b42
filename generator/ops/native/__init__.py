"""The native kernels of the operators: their sources, their compilation and where the built library is kept."""

__all__: list[str] = []
