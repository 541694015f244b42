import math

import pytest

from invert.projection.optimisers import Schedule
from tests.golden_data import Arrays


@pytest.mark.parametrize("kind", ["paper", "official_code"])
def test_rates_equal_the_golden_ones(kind: str) -> None:
    golden = Arrays(f"projection_{kind}")
    rates = [Schedule(40).learning_rate(step) for step in range(40)]
    assert rates == pytest.approx(golden["lr"].tolist(), abs=1e-12)


def test_the_papers_ramps_over_1000_steps() -> None:
    schedule = Schedule(1000)
    assert schedule.learning_rate(0) == 0
    assert schedule.learning_rate(25) == pytest.approx(0.05)
    assert schedule.learning_rate(50) == schedule.learning_rate(750) == pytest.approx(0.1)
    assert schedule.learning_rate(875) == pytest.approx(0.05)
    assert schedule.learning_rate(999) == pytest.approx(0.1 * (0.5 - 0.5 * math.cos(math.pi * 0.004)))


def test_latent_noise_fades_over_three_quarters() -> None:
    schedule = Schedule(1000)
    assert schedule.latent_noise_deviation(0) == pytest.approx(0.05)
    assert schedule.latent_noise_deviation(375) == pytest.approx(0.05 / 4)
    assert schedule.latent_noise_deviation(750) == schedule.latent_noise_deviation(999) == 0
