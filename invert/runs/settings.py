"""The settings of a training run: what the preset, the user, the images and a network to start from say."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator.errors import ConfigError
from generator.settings import setting_of
from generator.training.config import TrainConfig
from generator.training.presets import TRAINING_PRESETS, Lengths, automatic_gamma, settings_with
from generator.training.start import adopted_settings
from invert.errors import UsageError, display_path

if TYPE_CHECKING:
    from generator.files.state import LoadedNetwork
    from invert.datasets.training_images import TrainingImages

__all__ = ["adopted_from", "config_for", "refused"]


def config_for(
    images: "TrainingImages",
    preset: str,
    chosen: Mapping[str, Any],
    *,
    conditional: bool,
    lengths: Lengths,
    recorded: Mapping[str, Any] | None = None,
    on_warning: Callable[[str], None] = lambda _: None,
    on_note: Callable[[str], None] = lambda _: None,
) -> TrainConfig:
    """Return the settings of a run on these images.

    Args:
        images: The training images, which decide resolution and channels.
        preset: Name of the preset.
        chosen: Values of `TrainConfig` by name, which count in place of the preset's; `r1_gamma` may be "auto".
        conditional: Whether the network is to know the images' labels.
        lengths: How long the run is to train.
        recorded: Settings of the run that is to be resumed, as `invert.runs.folder.recorded_settings` returns them.
        on_warning: Called with a line when the run ends before its networks have grown.
        on_note: Called with a line when the run is resumed with what the preset was in an earlier version, and for
            each setting that follows from the images.

    Raises:
        UsageError: The settings do not fit together, or the images.
    """
    if conditional and not images.classes:
        known = ", ".join(map(display_path, images.attributes))
        advice = f"Name one of its attributes ({known}) with --attribute." if known else "Leave --cond out."
        raise UsageError("--cond: the data has no labels", advice=advice)
    wanted = chosen.get("resolution", images.resolution)
    if wanted != images.resolution:
        advice = f"Make them {wanted} px with `invert dataset --resolution {wanted}`."
        raise UsageError(f"--resolution {wanted}: the images have {images.resolution} px", advice=advice)
    now, taken = settings_with(preset, chosen), settings_with(preset, chosen, recorded)
    if now != taken:
        kept = ", ".join(f"{name}={taken.get(name)}" for name in TRAINING_PRESETS[preset].former if name not in chosen)
        on_note(f"this run was begun with {preset} as an earlier version had it, and is resumed so: {kept}")
    settings = {
        **taken,
        "resolution": images.resolution,
        "channels": images.channels,
        "classes": images.classes if conditional else 0,
    }
    if "augment" not in settings:
        settings["augment"] = _augmentation(preset, settings, len(images), recorded, on_note)
    try:
        config = _settled(preset, settings, on_note)
    except ConfigError as error:
        raise refused(error) from error
    schedule = config.growth_schedule()
    last = schedule.at(lengths.images - 1)
    if last.resolution < config.resolution or last.alpha < 1:
        on_warning(
            f"this run ends at {last.resolution} px; the networks have grown to {config.resolution} px after "
            f"{schedule.grown_after / 1000:g} thousand images: give a larger --kimg, or --set growing_stage_kimg "
            "and growing_fade_kimg"
        )
    return config


def adopted_from(start: "LoadedNetwork", path: Path) -> dict[str, Any]:
    """Return the settings of a run that starts from a network, see `adopted_settings`.

    Raises:
        UsageError: Such a network is not trained.
    """
    try:
        return adopted_settings(start)
    except ConfigError as error:
        raise UsageError(str(error), path=path, advice="Choose another --from.") from error


def refused(error: ConfigError) -> UsageError:
    """Return the error that a user is told of settings that are refused, with the options that give them."""
    said, message = [], str(error)
    for field in dataclasses.fields(TrainConfig):
        if re.search(rf"\b{field.name}\b" if "_" in field.name else rf"\b{field.name} is\b", message):
            option = setting_of(field).option
            said.append(option or f"--set {field.name}=")
    return UsageError(message, advice=f"See {', '.join(said)}." if said else "")


def _augmentation(
    preset: str,
    settings: Mapping[str, Any],
    count: int,
    recorded: Mapping[str, Any] | None,
    on_note: Callable[[str], None],
) -> Any:
    """Return the augmentation of a run that is asked for none: what it began with, or what suits so many images."""
    if recorded is not None:
        return recorded.get("augment", "none")  # a run of before there was augmentation goes on without
    few = TRAINING_PRESETS[preset].augment_below
    count = settings.get("subset", 0) or count
    if count >= few or settings.get("loss") == "wgan-gp":
        return "none"
    on_note(f"{count:,} images are fewer than {few:,}: --augment ada; without it: --augment none")
    return "ada"


def _settled(preset: str, settings: dict[str, Any], on_note: Callable[[str], None]) -> TrainConfig:
    factor, said = TRAINING_PRESETS[preset].gamma, settings.get("r1_gamma")
    if said == "auto" and settings.get("loss") == "wgan-gp":
        raise ConfigError("r1_gamma is auto, but WGAN-GP has a penalty of its own: it has to be 0")
    if said != "auto" and (said is not None or factor is None):
        return TrainConfig(**settings)
    config = TrainConfig(**{**settings, "r1_gamma": TrainConfig.r1_gamma})
    shape = config.resolution, config.growth_schedule().batch_at(config.resolution)
    if said == "auto" or factor is None:
        gamma = automatic_gamma(*shape)
        on_note(f"--gamma auto: {gamma:g}")
    else:
        gamma = automatic_gamma(*shape, factor)
        on_note(f"R1 gamma of {preset} for {shape[0]} px and batches of {shape[1]}: {gamma:g}")
    return dataclasses.replace(config, r1_gamma=gamma)
