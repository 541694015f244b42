"""What the program works out is what version 0.1.0 worked out, to the bit on a machine of the same kind."""

from pathlib import Path

import numpy as np
import pytest

from tests.net import net_case as net


@pytest.mark.parametrize("case", net.PROJECTIONS)
def test_projection(case: str, tmp_path: Path) -> None:
    net.invert(*net.projection(case, tmp_path / "out"))
    net.assert_unchanged(case, net.projected(tmp_path / "out"))
    assert net.method_digest(tmp_path / "out") == net.recorded_texts()["methods"][case]


def test_latents(tmp_path: Path) -> None:
    file = tmp_path / "eight.h5"
    net.invert(*net.latents(file))
    arrays = net.columns(file)
    net.assert_unchanged("latents", arrays)
    version, digest = net.content_digest(file)
    written = net.columns(net.WRITTEN / "latents.h5")
    same_bits = all(np.array_equal(arrays[name].reshape(value.shape), value) for name, value in written.items())
    if version == 1 and same_bits:
        assert digest == net.content_digest(net.WRITTEN / "latents.h5")[1]


@pytest.mark.parametrize("case", net.TRAININGS)
def test_training(case: str, tmp_path: Path) -> None:
    net.invert(*net.training(case, tmp_path / "run", 0.2))
    net.assert_unchanged(f"training-{case}", net.trained(tmp_path / "run"))


@pytest.mark.parametrize("case", net.ATTRIBUTIONS)
def test_verdicts(case: str) -> None:
    """The calibrations are taken, so the digests of their methods are those of today's program."""
    said, numbers = net.judged(net.invert(*net.attribution(case)))
    assert said == net.recorded_texts()["verdicts"][case]
    net.assert_unchanged(f"verdicts-{case}", numbers)
