"""Images from files: opening, decoding, the policy of what is accepted, and arrays."""

__all__: list[str] = []
