"""Training of StyleGAN3: its running magnitudes, the blur at the start, its settings, and starting from a file."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from generator.config import MappingConfig
from generator.errors import ConfigError
from generator.files.reading import load
from generator.networks import Generator
from generator.stylegan3 import training_settings
from generator.training.augmentation import Blur
from generator.training.config import TrainConfig
from generator.training.presets import TRAINING_PRESETS, automatic_gamma, settings_with
from generator.training.start import adopted_settings
from generator.training.state import state_bytes, state_from_bytes
from generator.training.trainer import Trainer
from generator.training.transforms import blur
from tests.golden_data import GOLDEN
from tests.training.training_case import ArrayImages, is_same, largest_difference, parameters, tiny, train, trained

PRESET = TRAINING_PRESETS["stylegan3-t"]


def small(**changes: Any) -> TrainConfig:
    """Preset stylegan3-t with five layers of four channels at 16 px, and a blur that takes part in the first steps."""
    schedule = "num_layers:4,num_critical:1,margin_size:2"
    sizes = {"channel_base": 32, "channel_max": 4, "discriminator_channel_base": 64, "discriminator_channel_max": 16}
    blurred = {"blur_warmup_sigma": 2.0, "blur_warmup_kimg": 0.04, "augment": "ada", "augment_kimg": 0.1}
    quick = {"augment_target": -0.9, "augment_interval": 2, "magnitude_half_life_kimg": 0.05}
    return tiny(**{**PRESET.settings, **sizes, **blurred, **quick, "layer_schedule": schedule, **changes})


def magnitudes(generator: Generator) -> Tensor:
    return torch.stack([value for name, value in generator.named_buffers() if name.endswith("magnitude_ema")])


def test_resumed_to_the_bit_and_parts_of_a_batch_as_the_whole() -> None:
    """While the blur fades, p of the augmentation moves and the magnitudes follow."""
    whole, first = trained(small(), 6), trained(small(), 3)
    resumed = trained(small(), 0)
    resumed.load_state(state_from_bytes(state_bytes(first.state())))
    assert 0 < resumed.blur < 2
    assert resumed.augment_probability
    train(resumed, 3)
    assert is_same(resumed.state(), whole.state())
    parts = trained(small(), 6, micro_batch=4)
    assert largest_difference(parameters(parts), parameters(whole)) < 1e-3
    torch.testing.assert_close(magnitudes(parts.generator), magnitudes(whole.generator), rtol=1e-4, atol=0)
    assert whole.losses()["path_length"] is None


def test_magnitudes_follow_the_discriminator_s_pass_and_are_copied_to_the_average() -> None:
    trainer = trained(small(), 0)
    seen: list[Tensor] = []
    layer = trainer.generator.synthesis.get_submodule(trainer.generator.config.synthesis.layers[1].name)  # type: ignore[attr-defined]
    layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().square().mean()))
    before = magnitudes(trainer.generator)
    assert before.tolist() == [1.0] * 5
    train(trainer, 1)
    of_g, of_d = seen
    kept = 0.5 ** (8 / 50)
    assert float(layer.magnitude_ema) == pytest.approx(float(of_d.lerp(before[1], kept)))  # type: ignore[arg-type]
    assert float(of_g) != pytest.approx(float(of_d), rel=1e-3)
    assert torch.equal(magnitudes(trainer.average), magnitudes(trainer.generator))
    assert not torch.equal(trainer.average.mapping.w_avg, torch.zeros(16))
    moved = magnitudes(trainer.average)
    trainer.average(torch.randn(4, 16))
    assert torch.equal(magnitudes(trainer.average), moved), "what is only used does not follow"


def test_the_blur_is_a_gaussian_that_fades() -> None:
    point = torch.zeros([1, 1, 17, 17])
    point[0, 0, 8, 8] = 1
    spread = blur(point, 2.0)
    assert float(spread.sum()) == pytest.approx(1)
    torch.testing.assert_close(spread[0, 0, 8, [6, 10]] / spread[0, 0, 8, 8], torch.tensor([0.5, 0.5]))
    assert float(spread[0, 0, 8, 1]) == 0
    assert blur(point, 0.3) is point
    x = torch.rand([2, 3, 4, 4], dtype=torch.float64, requires_grad=True)
    smooth = Blur(1.5, None)
    assert gradcheck(lambda x: smooth(x).square(), (x,), fast_mode=True)
    assert gradgradcheck(lambda x: smooth(x).square(), (x,), fast_mode=True)
    trainer = trained(small(), 0)
    found = []
    for _ in range(7):
        found.append(round(trainer.blur, 6))
        trainer.images += 8
    assert found == [2.0, 1.6, 1.2, 0.8, 0.4, 0.0, 0.0]


def test_everything_that_the_discriminator_sees_is_blurred() -> None:
    """Random images lose their contrast, for the discriminator alone."""
    contrasts: dict[float, list[float]] = {}
    for sigma in (0.0, 4.0):
        trainer = trained(small(blur_warmup_sigma=sigma, augment="none"), 0)
        found = contrasts.setdefault(sigma, [])
        trainer.discriminator.register_forward_pre_hook(
            lambda _, inputs, found=found: found.append(float(inputs[0].detach().std()))
        )
        train(trainer, 1)
    plain, smooth = contrasts[0.0], contrasts[4.0]
    assert len(plain) == len(smooth) == 3, "generated for G, real and generated for D, real for R1"
    assert all(after < 0.7 * before for before, after in zip(plain, smooth, strict=True))


def test_the_presets_are_the_published_settings() -> None:
    t, r = (TrainConfig(**settings_with(f"stylegan3-{name}", {"resolution": 256})) for name in "tr")
    shape = [(layer.name, layer.kernel) for layer in r.generator_config().synthesis.layers]  # type: ignore[attr-defined]
    assert shape[3] == ("L3_52_1024", 1)
    assert t.generator_config().synthesis.architecture == "stylegan3-t"
    assert t.generator_config().synthesis.magnitude_ema_beta == pytest.approx(0.999, abs=2e-4)  # type: ignore[attr-defined]
    mapping = t.generator_config().mapping
    assert mapping == MappingConfig(512, 0, 512, 2, w_avg_beta=0.998)
    assert t.discriminator_config() == r.discriminator_config()
    assert (t.blur_warmup_sigma, r.blur_warmup_sigma, r.blur_warmup_kimg) == (0.0, 10.0, 200.0)
    assert [automatic_gamma(side, 32, PRESET.gamma or 0) for side in (128, 256, 512, 1024)] == [0.5, 2, 8, 32]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"growing": True}, "'stylegan3-t' networks do not grow"),
        ({"use_noise": True}, "has no noise inputs: --no-noise"),
        ({"spectral_norm": "gd"}, "spectral_norm is 'gd', which a 'stylegan3-t' generator does not have"),
        ({"demodulate": False}, "demodulate is False, which a 'stylegan3-t' generator does not have"),
        ({"resolution": 8}, "img_resolution is 8, not an integer in 16..4096"),
        ({"layer_schedule": "layers:4"}, "layer_schedule: 'layers' is not one of num_layers, num_critical,"),
        ({"layer_schedule": "num_layers:4.5"}, "layer_schedule: '4.5' is no value of num_layers"),
        ({"layer_schedule": "num_layers:4,num_layers:5"}, "layer_schedule names num_layers twice"),
        ({"layer_schedule": "num_layers:1"}, "num_layers is 1, not an integer in 2..32"),
        ({"layer_schedule": "first_stopband:nan"}, "first_stopband is nan"),
        ({"discriminator_architecture": "stylegan3-t"}, "not one of skip, resnet, orig, stylegan"),
        ({"generator_architecture": "skip"}, "layer_schedule is .*, which a 'skip' generator does not have"),
        ({"blur_warmup_sigma": 1e6}, r"blur_warmup_sigma is 1000000.0, not in \[0, 100\]"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        small(**changes)


@pytest.mark.parametrize("kind", ["t", "r"])
def test_started_from_a_published_file(kind: str) -> None:
    start = load(GOLDEN / f"nvidia_stylegan3_{kind}.pkl")
    settings = adopted_settings(start)
    config = TrainConfig(**{**TRAINING_PRESETS["stylegan3-r"].settings, "resolution": 32, **settings})
    assert config.generator_architecture == f"stylegan3-{kind}"
    assert config.blur_warmup_sigma == 0, "a network that shows something needs none"
    trainer = Trainer(config, ArrayImages(40, 32), start=start)
    assert trainer.fresh == []
    z = torch.randn(2, 16)
    with torch.no_grad():
        torch.testing.assert_close(trainer.average(z), start.generator.eval()(z))
    assert start.discriminator is not None
    # images of another number of channels: the layers that see and give them alone
    grey = Trainer(TrainConfig(**{**vars(config), "channels": 1}), ArrayImages(40, 32, 1), start=start)
    assert grey.fresh == ["G synthesis.L14_32_1", "G synthesis.L14_32_1.affine", "D b32.fromrgb"]


def test_a_schedule_of_its_own_is_taken_over_and_a_list_of_channels_is_refused() -> None:
    trainer = trained(small(), 0)
    config = trainer.average.config.synthesis
    assert training_settings(config)["layer_schedule"] == "num_layers:4,num_critical:1,margin_size:2"  # type: ignore[arg-type]
    listed = dataclasses.replace(config, channels=(5, 4, 3, 2))  # type: ignore[type-var]
    with pytest.raises(ConfigError, match="follow no rule"):
        training_settings(listed)  # type: ignore[arg-type]
