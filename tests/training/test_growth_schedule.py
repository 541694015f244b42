"""The schedule of progressive growing: which stage follows from the images seen."""

import dataclasses
from itertools import pairwise
from typing import Any

import pytest

from generator.config import to_dict
from generator.errors import ConfigError
from generator.training.config import TrainConfig
from generator.training.presets import TRAINING_PRESETS, settings_with
from generator.training.schedule import GrowthSchedule, parse_by_resolution
from tests.training.training_case import tiny

DEFAULTS = {one.name: one.default for one in dataclasses.fields(TrainConfig)}


def schedule(**changes: Any) -> GrowthSchedule:
    """8 px for 100 images, fades of 50."""
    plain = GrowthSchedule(8, 32, 100, 50, 4, 0.1, 0.2, {8: 16, 16: 8}, {16: 0.3})
    return dataclasses.replace(plain, **changes)


@pytest.mark.parametrize(
    ("images", "resolution", "alpha"),
    [
        (0, 8, 1),
        (99, 8, 1),
        (100, 16, 0),
        (110, 16, 0.2),
        (149, 16, 0.98),
        (150, 16, 1),
        (249, 16, 1),
        (250, 32, 0),
        (275, 32, 0.5),
        (300, 32, 1),
        (399, 32, 1),
        (400, 32, 1),
        (10**9, 32, 1),
    ],
)
def test_stages(images: int, resolution: int, alpha: float) -> None:
    stage = schedule().at(images)
    assert (stage.resolution, stage.alpha) == (resolution, pytest.approx(alpha))


def test_values_by_resolution() -> None:
    found = [(s.batch, s.learning_rate, s.discriminator_learning_rate) for s in map(schedule().at, (0, 100, 250))]
    assert found == [(16, 0.1, 0.2), (8, 0.3, 0.3), (4, 0.1, 0.2)]
    assert schedule().resolutions == [8, 16, 32]


def test_lengths_of_nothing() -> None:
    assert [schedule(fade_images=0).at(n).resolution for n in (0, 99, 100, 200, 300)] == [8, 8, 16, 32, 32]
    assert {schedule(fade_images=0).at(n).alpha for n in range(300)} == {1.0}
    stages = [schedule(stage_images=0).at(n) for n in (0, 25, 50, 99, 100)]
    assert [(s.resolution, s.alpha) for s in stages] == [(16, 0), (16, 0.5), (32, 0), (32, 0.98), (32, 1)]
    assert schedule(stage_images=0, fade_images=0).at(0).resolution == 32
    assert schedule(start=32).at(0) == schedule().at(10**6)


def test_the_papers_schedule() -> None:
    """600 thousand images for each stage and each fade; 8, 16, 32 ... 1024 px."""
    config = TrainConfig(**TRAINING_PRESETS["stylegan"].settings)
    at = config.growth_schedule().at
    assert [at(600_000 + 1_200_000 * i).resolution for i in range(7)] == [16, 32, 64, 128, 256, 512, 1024]
    assert at(900_000).alpha == 0.5
    assert [at(n).batch for n in (0, 600_000, 1_800_000, 3_000_000, 4_200_000)] == [256, 128, 64, 32, 32]
    assert [at(n).learning_rate for n in (0, 4_200_000, 5_400_000, 6_600_000)] == [0.001, 0.0015, 0.002, 0.003]


@pytest.mark.parametrize("preset", TRAINING_PRESETS)
def test_presets_are_whole(preset: str) -> None:
    grows = preset in ("stylegan", *(f"stylegan-{row}" for row in "abcde"), *(f"stylegan2-{row}" for row in "abcd"))
    alias_free = preset.startswith("stylegan3")
    paper = grows or preset.startswith("stylegan2")
    config = TrainConfig(**{"resolution": 1024 if paper else 32, **TRAINING_PRESETS[preset].settings})
    assert config.growing is grows
    assert config.generator_config().synthesis.growing is grows
    assert len(config.growth_schedule().resolutions) == ((9 if preset == "stylegan-a" else 8) if grows else 1)
    # Those of the papers are as the papers and their public code have them, for FFHQ; the short ones are our own.
    assert config.mirror is (paper or alias_free)
    assert config.w_avg_passes == ("all" if paper else "discriminator" if alias_free else "generator")
    assert config.adam_reset == ("fade" if grows else "resolution")
    assert config.ema_warmup == (0.05 if preset in ("small", "tiny") or alias_free else 0.0)
    assert not grows or config.growth_schedule().batch_at(4) == 512


@pytest.mark.parametrize(
    ("preset", "generator", "demodulate", "lazy", "path_length"),
    [
        # Karras et al. 2020, table 1: what each row adds to the one before.
        ("stylegan2-a", "stylegan", None, False, 0.0),
        ("stylegan2-b", "orig", True, False, 0.0),
        ("stylegan2-c", "orig", True, True, 0.0),
        ("stylegan2-d", "orig", True, True, 2.0),
        ("stylegan", "stylegan", None, False, 0.0),
        ("stylegan-small", "stylegan", None, False, 0.0),
        ("stylegan2-e", "skip", True, True, 2.0),
        ("stylegan2-f", "skip", True, True, 2.0),
    ],
)
def test_rows_of_the_tables(
    preset: str, generator: str, demodulate: bool | None, lazy: bool, path_length: float
) -> None:
    config = TrainConfig(
        **{"resolution": 32 if preset.endswith("small") else 1024, **TRAINING_PRESETS[preset].settings}
    )
    assert config.generator_architecture == generator
    assert config.lazy is lazy
    assert config.path_length_weight == path_length
    assert demodulate is None or config.demodulate is demodulate
    synthesis = config.generator_config().synthesis
    assert synthesis.architecture == generator
    row_by_row = {"stylegan2-f": 32768, "stylegan-small": 512}
    assert config.channel_base == row_by_row.get(preset, 16384)


def test_rows_of_the_first_table() -> None:
    """Karras et al. 2019, table 1: what each row adds to the one before."""
    rows = [TrainConfig(**TRAINING_PRESETS[f"stylegan{row}"].settings) for row in ("-a", "-b", "-c", "-d", "-e", "")]
    added = []
    for before, after in pairwise(rows):
        names = [one.name for one in dataclasses.fields(TrainConfig)]
        added.append({n: getattr(after, n) for n in names if getattr(before, n) != getattr(after, n)})
    assert added == [
        {"blur": True, "growing_start": 8, "loss": "logistic", "r1_gamma": 10.0},
        {"mapping_layers": 8, "use_styles": True, "normalisation": "instance"},
        {"synthesis_input": "constant"},
        {"use_noise": True},
        {"style_mixing": 0.9},
    ]
    kimg = {row: TRAINING_PRESETS[f"stylegan-{row}"].lengths.kimg for row in "abcde"}
    assert kimg == {"a": 12_000, **dict.fromkeys("bcde", 25_000)}


@pytest.mark.parametrize("preset", [name for name, one in TRAINING_PRESETS.items() if one.former])
def test_a_run_of_before_keeps_what_its_preset_was(preset: str) -> None:
    now = settings_with(preset, {})
    former = {**now, **TRAINING_PRESETS[preset].former}
    assert all(now.get(name, DEFAULTS[name]) != value for name, value in TRAINING_PRESETS[preset].former.items())
    recorded = to_dict(TrainConfig(**former))  # without settings that there were not
    assert not {"w_avg_passes", "adam_reset", "path_length_layers"} & recorded.keys()
    assert settings_with(preset, {}, recorded) == former
    assert settings_with(preset, {"batch": 8}, {**recorded, "batch": 8, "batch_by_resolution": ""}) == {
        **former,
        "batch": 8,
        "batch_by_resolution": "",
    }
    # one of them alone is somebody's choice
    assert settings_with(preset, {}, {**recorded, "mirror": True}) == now
    assert settings_with(preset, {}, to_dict(TrainConfig(**now))) == now


def test_a_loss_of_the_user_brings_its_penalty() -> None:
    assert settings_with("stylegan", {"loss": "wgan-gp"})["r1_gamma"] == 0
    assert settings_with("stylegan-a", {"loss": "logistic"})["r1_gamma"] == 10
    assert settings_with("stylegan-a", {"loss": "logistic", "r1_gamma": 3.0})["r1_gamma"] == 3
    assert settings_with("small", {"loss": "logistic"})["r1_gamma"] == 1


def test_parsing() -> None:
    assert parse_by_resolution("x", "", int) == {}
    assert parse_by_resolution("x", "8:256, 16:128", int) == {8: 256, 16: 128}
    assert parse_by_resolution("x", "1024:3e-3", float) == {1024: 0.003}


@pytest.mark.parametrize("text", ["8", "8:", "8:1.5", "x:3", "8:4,", "8:4,8:5", "6:4", "2:4", "8:0", "8:-1", "8192:1"])
def test_wrong_values_by_resolution(text: str) -> None:
    with pytest.raises(ConfigError, match="batch_by_resolution"):
        tiny(batch_by_resolution=text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"growing": True}, "'skip' networks do not grow"),
        ({"generator_architecture": "orig", "growing": True}, "'resnet' networks do not grow"),
        ({"growing_start": 32}, "growing_start is 32, not a power of two in 4..16"),
        ({"growing_start": 6}, "growing_start is 6"),
        ({"growing_fade_kimg": -1.0}, "growing_fade_kimg is -1.0, not 0 or more"),
        ({"batch_by_resolution": "8:6"}, "batch is 6, not a whole number of minibatch-deviation groups"),
        ({"learning_rate_by_resolution": "8:inf"}, "learning_rate_by_resolution"),
    ],
    ids=str,
)
def test_wrong_growth(changes: dict[str, Any], message: str) -> None:
    orig = {"generator_architecture": "orig", "discriminator_architecture": "orig", "growing": True}
    settings = changes if "growing" in changes else {**orig, **changes}
    with pytest.raises(ConfigError, match=message):
        tiny(**settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"synthesis_input": "latent"}, "synthesis_input is 'latent', which a 'skip' generator does not have"),
        ({"use_styles": False}, "use_styles is False"),
        ({"generator_architecture": "stylegan", "demodulate": False}, "demodulate is False, which a 'stylegan'"),
        ({"generator_architecture": "stylegan", "conv_clamp": 8.0}, "conv_clamp is 8.0"),
        ({"generator_architecture": "stylegan", "spectral_norm": "gd"}, "spectral_norm is 'gd'"),
        ({"generator_architecture": "stylegan", "use_styles": False}, "a constant input without styles"),
        ({"generator_architecture": "stylegan", "normalisation": "batch"}, "normalisation is 'batch'"),
        ({"loss": "wgan-gp"}, "r1_gamma is 1.0, but WGAN-GP has a penalty of its own"),
        ({"loss": "hinge"}, "loss is 'hinge'"),
        ({"mapping_layers": 0, "w_dim": 8}, "a mapping network without layers needs w_dim 16, not 8"),
        ({"mapping_layers": 0, "classes": 3}, "mapping_layers is 0, but labels that are embedded need a layer"),
    ],
    ids=str,
)
def test_switches_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny(**changes)
