"""One SLURM for all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.node import slurm_node


@pytest.fixture(scope="package")
def slurm() -> Iterator[Path]:
    """A real SLURM of this machine, named in SLURM_CONF; skips where there can be none."""
    pytest.importorskip("submitit", reason="submitit is not installed: it is in the extra 'slurm'")
    with slurm_node() as folder:
        yield folder
