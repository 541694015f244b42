"""Fixtures that several tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# The networks of the tests are too small for two threads to be worth their waiting for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What the tests run must not depend on which of them built the native kernels first; tests that want them ask.
os.environ["INVERT_NATIVE"] = "0"

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
