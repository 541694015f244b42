"""Pickles and PyTorch archives as plain records: nothing in a file is ever run."""

__all__: list[str] = []
