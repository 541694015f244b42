"""Images from files and from memory: opening, formats, decoding and its policy, arrays, targets, videos."""

__all__: list[str] = []
