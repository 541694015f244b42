"""The hostile corpus: files that must be refused, each with what its refusal must say.

Payloads would touch a sentinel file if anything in a file ran; tests look for its absence. Nothing here is imported or
called: the files are written opcode by opcode.
"""

from collections.abc import Iterator
from pathlib import Path

from tests.loaders import hostile_containers, hostile_networks, hostile_pickles
from tests.loaders.hostile_case import Hostile

__all__ = ["Hostile", "corpus"]


def corpus(sentinel: Path) -> Iterator[Hostile]:
    """Yield every hostile file; payloads aim at `sentinel`."""
    yield from hostile_pickles.cases(sentinel)
    yield from hostile_networks.cases(sentinel)
    yield from hostile_containers.cases()
