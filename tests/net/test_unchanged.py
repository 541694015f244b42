"""What the program works out is what version 0.1.0 worked out, to the bit on a machine of the same kind."""

import json
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


@pytest.mark.parametrize(
    ("file", "digest"),
    [
        ("data/networks/A.calibration.json", "e5127a4f165515bb89af643338ccae1e7f4d1c86d32c80856f99a08047556c29"),
        (
            "data/networks/A.verdict.calibration.json",
            "616ea7c0f32acbb26bc60395dbe0fc17d57a6421eaadaf2f396a017b0aea2854",
        ),
        ("data/networks/stylegan.calibration.json", "bb8b1b5792b149b2991808c0cc372ecef203e61e7a6a00daff2fda3a76ad8410"),
        (
            "data/networks/stylegan2.calibration.json",
            "3e7812048f5af1d0ad1eb0c3bdb357b0342c84fcdb165d41cba5f45891b43682",
        ),
    ],
)
def test_methods_of_the_shipped_calibrations(file: str, digest: str) -> None:
    assert json.loads((net.ROOT / file).read_text())["method_digest"] == digest
