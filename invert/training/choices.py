"""What a command line says about a training run, as settings and lengths."""

import math
from typing import TYPE_CHECKING, Any

from generator.errors import ConfigError
from invert.errors import UsageError

if TYPE_CHECKING:
    from generator.train_config import TrainConfig
    from invert.datasets.pictures import TrainingPictures

__all__ = ["GROWTH", "LENGTHS", "chosen_settings", "end_of_growth", "lengths_of", "train_config"]

# Thousands of pictures: how long to train, and between two reports and two snapshots.
LENGTHS = {
    "stylegan2-f": (25_000.0, 4.0, 200.0),
    "stylegan2-e": (25_000.0, 4.0, 200.0),
    **{f"stylegan2-{row}": (25_000.0, 4.0, 200.0) for row in "abcd"},
    "stylegan": (25_000.0, 4.0, 200.0),
    "small": (400.0, 2.0, 20.0),
    "stylegan-small": (400.0, 2.0, 20.0),
    "tiny": (10.0, 0.5, 2.0),
}

# Of the short presets: thousands of pictures of a stage, and of a fade, where they grow.
GROWTH = {"small": 50.0, "stylegan-small": 50.0, "tiny": 1.0}


def lengths_of(preset: str, *given: float | None) -> tuple[int, int, int]:
    """Return when to end, report and save, in pictures.

    Raises:
        UsageError: A length is out of range.
    """
    found = []
    for name, value, default in zip(("kimg", "tick-kimg", "snapshot-kimg"), given, LENGTHS[preset], strict=True):
        kimg = default if value is None else value
        if not (math.isfinite(kimg) and 0.001 <= kimg <= 1e9):
            raise UsageError(f"--{name} {value} is not in 0.001..1e9")
        found.append(round(kimg * 1000))
    return found[0], found[1], found[2]


def chosen_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that the command line names, by their names in TrainConfig.

    Raises:
        UsageError: A `--set` is none.
    """
    from generator.train_config import parse_setting

    others = settings.pop("others")
    chosen: dict[str, Any] = {}
    if settings.pop("no_path_length"):
        chosen["path_length_weight"] = 0.0
    if settings.pop("no_lazy"):
        chosen["lazy"] = False
    if settings.pop("no_demodulation"):
        chosen["demodulate"] = False
    if settings.pop("latent_input"):
        chosen["synthesis_input"] = "latent"
    if settings.pop("no_styles"):
        chosen["use_styles"] = False
    if settings.pop("no_noise"):
        chosen["use_noise"] = False
    if settings.pop("mirror"):
        chosen["mirror"] = True
    if settings["loss"] == "wgan-gp":
        chosen["r1_gamma"] = 0.0  # it has a penalty of its own
    gamma = settings.pop("gamma")
    if gamma is not None:
        chosen["r1_gamma"] = gamma
    chosen |= {name: value for name, value in settings.items() if value is not None}
    for text in others:
        name, mark, value = text.partition("=")
        if not mark:
            raise UsageError(f"--set {text!r} is not NAME=VALUE")
        try:
            chosen[name.strip()] = parse_setting(name.strip(), value.strip())
        except ConfigError as error:
            raise UsageError(f"--set {text}: {error}") from error
    return chosen


def train_config(preset: str, chosen: dict[str, Any], pictures: "TrainingPictures") -> "TrainConfig":
    """Return the settings of a run on these pictures.

    Raises:
        UsageError: They do not fit together, or the pictures.
    """
    from generator.train_config import TrainConfig
    from generator.train_presets import PRESETS

    if chosen["classes"] and not pictures.classes:
        raise UsageError("--cond: the data has no labels", advice="Leave --cond out.")
    wanted = chosen.get("resolution", pictures.resolution)
    if wanted != pictures.resolution:
        advice = f"Make them {wanted} px with `invert dataset --resolution {wanted}`."
        raise UsageError(f"--resolution {wanted}: the pictures have {pictures.resolution} px", advice=advice)
    settings = {
        **PRESETS[preset],
        **_growth(preset, chosen),
        **_for_every_resolution(chosen),
        **chosen,
        "resolution": pictures.resolution,
        "channels": pictures.channels,
        "classes": pictures.classes if chosen["classes"] else 0,
    }
    try:
        return TrainConfig(**settings)
    except ConfigError as error:
        raise UsageError(str(error)) from error


def _growth(preset: str, chosen: dict[str, Any]) -> dict[str, float]:
    """Return stages that a short preset has the time for."""
    if not chosen.get("growing") or preset not in GROWTH:
        return {}
    return {"growing_stage_kimg": GROWTH[preset], "growing_fade_kimg": GROWTH[preset]}


def _for_every_resolution(chosen: dict[str, Any]) -> dict[str, str]:
    """Return what gives way to a batch or a learning rate that the user named: the preset's own by resolution."""
    away = {}
    if "batch" in chosen:
        away["batch_by_resolution"] = ""
    if "learning_rate" in chosen or "discriminator_learning_rate" in chosen:
        away["learning_rate_by_resolution"] = ""
    return away


def end_of_growth(config: "TrainConfig", images: int) -> str:
    """Return what to say of a run that ends before its networks have grown; nothing where they have."""
    schedule = config.growth_schedule()
    last = schedule.at(images - 1)
    if last.resolution == config.resolution and last.alpha >= 1:
        return ""
    steps = len(schedule.resolutions) - 1
    whole = steps * (schedule.stage_images + schedule.fade_images)
    return (
        f"this run ends at {last.resolution} px; the networks have grown to {config.resolution} px after "
        f"{whole / 1000:g} thousand pictures: give a larger --kimg, or --set growing_stage_kimg and growing_fade_kimg"
    )
