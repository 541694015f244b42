"""Fixtures that several tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def network() -> Path:
    """A 32 px network file as the published PyTorch code writes it, small enough for five steps in a moment."""
    return GOLDEN / "nvidia_ada.pkl"


@pytest.fixture
def threads() -> Iterator[None]:
    """Give PyTorch its number of threads back after a test that changes it."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
