"""Starting from a network of before: which layers it gives, which start afresh, and which are frozen."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from generator.errors import ConfigError
from generator.families import family_of
from generator.files.invert_format import save_network
from generator.files.reading import LoadedNetwork, load
from generator.training.config import TrainConfig
from generator.training.presets import TRAINING_PRESETS, settings_with
from generator.training.start import adopted_settings
from generator.training.trainer import Trainer
from tests.training.training_case import ArrayImages, is_same, parameters, tiny, train, trained

GOLDEN = Path(__file__).parent.parent / "golden"
FILES = (
    "nvidia_ada.pkl",
    "nvidia_tf.pkl",
    "nvidia_tf_stylegan1.pkl",
    "rosinality.pt",
    "nvidia_stylegan3_t.pkl",
    "nvidia_stylegan3_r.pkl",
)


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> LoadedNetwork:
    """A network of 8 px that was trained for a step, as its file gives it."""
    trainer = trained(tiny(resolution=8, mapping_lr_multiplier=0.1), 1)
    path = tmp_path_factory.mktemp("start") / "half.safetensors"
    save_network(path, trainer.average, trainer.discriminator)
    return load(path)


def begun(start: LoadedNetwork, channels: int = 3, classes: int = 0, **changes: Any) -> Trainer:
    config = TrainConfig(**{**SHORT, **adopted_settings(start), "channels": channels, "classes": classes, **changes})
    return Trainer(config, ArrayImages(40, config.resolution, channels, classes), start=start)


SHORT: dict[str, Any] = {"resolution": 16, "batch": 8, "r1_interval": 2, "path_length_interval": 2}


def test_of_half_the_resolution_the_new_layers_alone_start_afresh(half: LoadedNetwork) -> None:
    trainer = begun(half)
    assert {name.split(".b16.")[0] for name in trainer.fresh if name.startswith("G")} == {"G synthesis"}
    assert trainer.fresh[-4:] == ["D b16.fromrgb", "D b16.conv0", "D b16.conv1", "D b16.skip"]
    own = trainer.generator.state_dict()
    for name, value in half.generator.state_dict().items():
        assert torch.equal(own[name], value), name
    assert torch.equal(trainer.average.mapping.w_avg, half.generator.mapping.w_avg)
    train(trainer, 1)


def test_a_network_goes_on_as_it_was(half: LoadedNetwork) -> None:
    trainer = begun(half, resolution=8)
    assert trainer.fresh == []
    z, x = torch.randn([2, 16]), torch.randn([4, 3, 8, 8])
    for own in (trainer.generator, trainer.average):
        theirs = half.generator.synthesis(half.generator.mapping_ws(z))
        torch.testing.assert_close(own.synthesis(own.mapping_ws(z)), theirs)
    assert half.discriminator is not None
    torch.testing.assert_close(trainer.discriminator(x), half.discriminator(x))
    # another learning rate of the mapping network is in how its weights are stored, and not in what they do
    other = begun(half, resolution=8, mapping_lr_multiplier=0.01).generator
    torch.testing.assert_close(other.mapping(z), half.generator.mapping(z))


def test_other_channels_and_classes_start_afresh(half: LoadedNetwork) -> None:
    grey = begun(half, channels=1, resolution=8).fresh
    assert grey == ["G synthesis.b4.torgb", "G synthesis.b8.torgb", "D b8.fromrgb"]
    classes = begun(half, classes=3, resolution=8).fresh
    assert {"G mapping.embed", "G mapping.fc0", "D b4.out"} <= set(classes)
    assert "D b8.conv0" not in classes


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_every_reader_s_file_trains(name: str) -> None:
    start = load(GOLDEN / name)
    synthesis = start.generator.config.synthesis
    trainer = begun(
        start, synthesis.img_channels, start.generator.config.mapping.c_dim, resolution=synthesis.img_resolution
    )
    assert [layer for layer in trainer.fresh if layer.startswith("G")] == []
    assert bool(trainer.fresh) is (start.discriminator is None)
    train(trainer, 1)
    assert trainer.is_finite()


@pytest.mark.parametrize("preset", TRAINING_PRESETS)
@pytest.mark.parametrize("name", ["nvidia_ada.pkl", "nvidia_tf_stylegan1.pkl", "nvidia_stylegan3_t.pkl"])
def test_whatever_the_preset_has_the_file_s_networks_count(name: str, preset: str) -> None:
    start = load(GOLDEN / name)
    synthesis, classes = start.generator.config.synthesis, start.generator.config.mapping.c_dim
    shape = {"resolution": synthesis.img_resolution, "channels": synthesis.img_channels, "classes": classes}
    settings = settings_with(preset, adopted_settings(start))
    if settings.get("loss") != "wgan-gp":
        settings["r1_gamma"] = 1.0
    config = TrainConfig(**{**settings, **shape})
    assert family_of(config.generator_config().synthesis) is family_of(synthesis)
    assert config.blur_warmup_sigma == 0, "what the network shows is no noise"


def moved(trainer: Trainer, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in parameters(trainer).items() if not torch.equal(value, before[name])}


def test_frozen_layers_keep_their_weights(half: LoadedNetwork) -> None:
    trainer = begun(half, freeze_d=3, freeze_mapping=True)
    before = parameters(trainer)
    train(trainer, 2)
    changed = moved(trainer, before)
    kept = {name.rpartition(".")[0] for name in before if name not in changed}
    assert {"D.b16.fromrgb", "D.b16.conv0", "D.b16.conv1", "G.mapping.fc0", "EMA.mapping.fc1"} <= kept
    assert "D.b16.skip.weight" in changed
    assert not any(name.startswith("D.") and not name.startswith("D.b16") for name in before.keys() - changed)
    resumed = begun(half, freeze_d=3, freeze_mapping=True)
    resumed.load_state(trainer.state())
    train(trainer, 1)
    train(resumed, 1)
    assert is_same(resumed.state(), trainer.state())
    with pytest.raises(ConfigError, match="freeze_d is 99, but the discriminator has 10 layers"):
        begun(half, freeze_d=99)


def test_what_does_not_fit_is_refused(half: LoadedNetwork) -> None:
    with pytest.raises(ConfigError, match="of another family"):
        begun(half, generator_architecture="stylegan", discriminator_architecture="stylegan", path_length_weight=0.0)
    with pytest.raises(ConfigError, match="not the one that the settings name"):
        Trainer(tiny(resolution=8, mapping_lr_multiplier=0.1), ArrayImages(40, 8), start=half)
    with pytest.raises(ConfigError, match="not the one that the settings name"):
        trained(tiny(start="0" * 64), 0)
    with pytest.raises(ConfigError, match="not a SHA-256"):
        tiny(start="../../network.pkl")


def test_spectral_norm_begins_at_the_weights_that_were_taken_over(half: LoadedNetwork) -> None:
    trainer = begun(half, resolution=8, spectral_norm="gd", freeze_d=1)
    layer: nn.Module = trainer.generator.synthesis.get_submodule("b8.conv0")
    stored = layer.parametrizations.weight.original  # type: ignore[union-attr]
    assert torch.equal(stored, half.generator.state_dict()["synthesis.b8.conv0.weight"])
    before = parameters(trainer)
    train(trainer, 1)
    assert not any(name.startswith("D.b8.fromrgb") for name in moved(trainer, before))
