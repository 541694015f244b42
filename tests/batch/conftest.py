"""Where small batches lie."""

from pathlib import Path

import pytest

from tests.batch.batch_case import MANIFEST, make_entries, write_batch


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where a batch is to go."""
    return tmp_path / "latents.h5"


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A batch of seven rows; not to be changed."""
    out = tmp_path_factory.mktemp("latents") / "latents.h5"
    write_batch(out, MANIFEST, make_entries(MANIFEST))
    return out
