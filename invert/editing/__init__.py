"""Directions in W along which images change, and images moved along them."""

__all__: list[str] = []
