"""A small network to make sheets of."""

from pathlib import Path

import pytest

from generator.files.reading import LoadedNetwork, load


@pytest.fixture(scope="session")
def loaded(network: Path) -> LoadedNetwork:
    found = load(network)
    found.generator.eval()
    return found
