"""One file of the hostile corpus."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Hostile:
    """A file, and a pattern that the message of its refusal must match."""

    name: str
    content: bytes
    says: str
