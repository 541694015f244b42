"""Settings of projections: what a preset stands for."""

import pytest

from invert.projection.config import PRESETS, ProjectConfig, with_defaults


def test_a_preset_has_steps_and_noise_of_its_own() -> None:
    found = {preset: ProjectConfig(**with_defaults({"preset": preset})) for preset in PRESETS}
    assert {preset: (config.steps, config.noise) for preset, config in found.items()} == {
        "paper": (1000, "optimise"),
        "official": (1000, "optimise"),
        "verdict": (50, "fixed"),
    }


def test_what_is_given_stays() -> None:
    given = {"preset": "verdict", "steps": 0, "noise": "zero", "lpips": "alex"}
    assert with_defaults(given) == given
    assert with_defaults({"preset": "verdict", "steps": 7, "noise": None}) == {
        "preset": "verdict",
        "steps": 7,
        "noise": "fixed",
    }
    with pytest.raises(KeyError):
        with_defaults({"preset": "none such"})
