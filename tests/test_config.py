"""Settings of projections: what a preset stands for, and what follows from the declaration of a field."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import click
import pytest

from generator.settings import setting, setting_of
from invert.cli import options
from invert.errors import UsageError
from invert.images.decoding import ImagePolicy
from invert.projection.config import METHOD_SETTINGS, ProjectConfig, arguments_of, with_defaults
from invert.projection.presets import PRESETS
from invert.projection.records import config_of, differing_keys, method_digest, method_record, run_settings

CALIBRATIONS = sorted((Path(__file__).parent.parent / "data" / "networks").glob("*.calibration.json"))

# Of the calibrations as they were shipped; what is measured with another method cannot be compared with them.
SHIPPED = {
    "A": "f93dcd16c7242adb7227e7e1575e352b86810f2a27bad70e72968d6dc1854e8f",
    "A.verdict": "616ea7c0f32acbb26bc60395dbe0fc17d57a6421eaadaf2f396a017b0aea2854",
    "faces": "b25d1ec30bed4861448a88da15e9f6513d12a4b83a776ef5f399b2e21a92ded4",
    "stylegan": "bb8b1b5792b149b2991808c0cc372ecef203e61e7a6a00daff2fda3a76ad8410",
    "stylegan2": "3e7812048f5af1d0ad1eb0c3bdb357b0342c84fcdb165d41cba5f45891b43682",
}


def test_a_preset_has_steps_and_noise_of_its_own() -> None:
    found = {preset: ProjectConfig(**with_defaults({"preset": preset})) for preset in PRESETS}
    assert {preset: (config.steps, config.noise, config.restarts) for preset, config in found.items()} == {
        "paper": (1000, "optimise", 1),
        "official": (1000, "optimise", 1),
        "verdict": (50, "fixed", 1),
        "fast": (80, "optimise", 1),
        "exact": (14, "fixed", 2),
    }


def test_what_is_given_stays() -> None:
    given = {"preset": "verdict", "steps": 0, "noise": "zero", "lpips": "alex", "restarts": 2}
    assert with_defaults(given) == given
    assert with_defaults({"preset": "verdict", "steps": 7, "noise": None}) == {
        "preset": "verdict",
        "steps": 7,
        "restarts": 1,
        "noise": "fixed",
    }
    with pytest.raises(KeyError):
        with_defaults({"preset": "none such"})


@pytest.mark.parametrize("path", CALIBRATIONS, ids=lambda path: path.name)
def test_method_records_of_shipped_calibrations_stay(path: Path) -> None:
    shipped = json.loads(path.read_bytes())
    method = shipped["method"]
    evidence = {"evidence_version": method["evidence_version"]}
    record = method_record(config_of(method), method["network_sha256"], method["image_policy"]) | evidence
    # To the order of the keys: files that hold a record are compared by their bytes.
    assert json.dumps(record) == json.dumps(method)
    digest = method_digest({**record, "score": shipped["settings"]["score"]})
    assert digest == shipped["method_digest"] == SHIPPED[path.name.removesuffix(".calibration.json")]


def test_image_policies_that_make_the_same_pixels_are_one_method() -> None:
    """Version 2 differs from 1 in images with a colour profile alone, which say so by themselves."""
    now = method_record(ProjectConfig(), "ab" * 32, ImagePolicy().record())
    before = now | {"image_policy": ImagePolicy().record() | {"version": 1, "profile": "ignored"}}
    assert now["image_policy"]["profile"] == "srgb"
    assert method_digest(now) == method_digest(before)
    assert differing_keys(before, now) == []
    other = method_record(ProjectConfig(), "ab" * 32, ImagePolicy(alpha="white").record())
    assert method_digest(other) != method_digest(now)
    assert differing_keys(before, other) == ["image_policy.alpha: black, now white"]


CONFIGS = [
    ProjectConfig(),
    ProjectConfig(preset="official", steps=3, lpips="alex", noise="zero", noise_weight=0.1, restarts=2, class_index=4),
    ProjectConfig(preset="verdict", bank=500, precision="bfloat16", seed=9, batch=3, threads=2, device="cpu"),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.preset)
def test_a_method_record_gives_its_settings_back(config: ProjectConfig) -> None:
    found = config_of(json.loads(json.dumps(method_record(config, "a", {}))))
    assert [getattr(found, name) for name in METHOD_SETTINGS] == [getattr(config, name) for name in METHOD_SETTINGS]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.preset)
def test_arguments_give_their_settings_back(config: ProjectConfig) -> None:
    assert parse(ProjectConfig, arguments_of(config)) == dataclasses.asdict(config)


def test_arguments_that_differ() -> None:
    assert arguments_of(ProjectConfig(class_index=2, seed=5), unlike=ProjectConfig(seed=5)) == ["--class", "2"]
    assert arguments_of(ProjectConfig(), unlike=ProjectConfig()) == []


def test_every_setting_is_in_one_record_and_explained() -> None:
    run = run_settings(ProjectConfig())
    fields = dataclasses.fields(ProjectConfig)
    assert sorted([*METHOD_SETTINGS, *run]) == sorted(field.name for field in fields)
    for field in fields:
        assert setting_of(field).help.endswith(".")


def test_the_run_record_has_what_the_machine_chose() -> None:
    assert run_settings(ProjectConfig(seed=4, batch=2), batch=8, device="cpu (x)") == {
        "seed": 4,
        "batch": 8,
        "threads": None,
        "device": "cpu (x)",
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": -1}, "--steps -1 is not in 0..10000000."),
        ({"steps": None}, "--steps None is not of the type int."),
        ({"steps": "5"}, "--steps '5' is not of the type int."),
        ({"noise_weight": float("inf")}, "--noise-weight inf is not in [0, inf)."),
        ({"class_index": -1}, "--class -1 is not 0 or more."),
        ({"threads": 5000}, "--threads 5000 is not in 1..4096."),
        ({"device": "7"}, "--device '7' is not auto, cpu, cuda, cuda:K, mps or another device of torch."),
        ({"bank": 0}, "--bank 0 is not in 1..100000."),
    ],
    ids=str,
)
def test_a_value_out_of_range_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        ProjectConfig(**settings)
    assert str(caught.value).rstrip(".") == message.rstrip(".")


@dataclasses.dataclass(frozen=True)
class More(ProjectConfig):
    """A projection with a setting more."""

    pace: str = setting("slow", choices=("slow", "fast"), help="How fast it goes.", group="Method")


def parse(kind: type, arguments: list[str], **changes: Any) -> dict[str, Any]:
    """Return what a command with the options of a class of settings is called with."""

    @options.command(short_help="", examples=())
    @options.settings(kind, **changes)
    def command(**given: Any) -> dict[str, Any]:
        return given

    found: dict[str, Any] = command.main(arguments, standalone_mode=False)
    return found


def test_a_new_field_is_a_new_option(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse(More, [])["pace"] == "slow"
    assert parse(More, ["--pace", "fast"])["pace"] == "fast"
    monkeypatch.setenv("INVERT_PACE", "fast")
    assert parse(More, [])["pace"] == "fast"
    assert parse(More, ["--pace", "slow"])["pace"] == "slow"
    monkeypatch.setenv("INVERT_PACE", "s")
    with pytest.raises(click.UsageError) as caught:
        parse(More, [])
    assert "'INVERT_PACE': 's' is not one of" in caught.value.format_message()


def test_commands_choose_settings_and_their_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    changes: dict[str, Any] = {"only": ("steps", "seed"), "defaults": {"seed": 3, "steps": options.Unset("another's")}}
    assert parse(ProjectConfig, [], **changes) == {"steps": None, "seed": 3}
    assert "seed" not in parse(ProjectConfig, [], without=("seed",))
    monkeypatch.setenv("INVERT_STEPS", "12")
    monkeypatch.setenv("INVERT_SEED", "")
    assert parse(ProjectConfig, [], **changes) == {"steps": 12, "seed": 3}
    monkeypatch.setenv("INVERT_STEPS", "-1")
    with pytest.raises(click.UsageError) as caught:
        parse(ProjectConfig, [], **changes)
    assert "'INVERT_STEPS': -1 is not in 0..10000000" in caught.value.format_message()
