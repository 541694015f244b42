"""Networks that grow, and the trainer that grows them."""

import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from generator.config import to_dict
from generator.errors import ConfigError
from generator.families import generator_from_dict
from generator.files.invert_format import network_bytes
from generator.files.reading import load
from generator.networks import Generator, make_discriminator
from generator.stylegan.config import StyleGANSynthesisConfig
from generator.stylegan2.config import SynthesisConfig
from generator.stylegan3.config import StyleGAN3SynthesisConfig
from generator.training.config import TrainConfig
from generator.training.growth import blend_reals, grown_part, is_used, styles_at
from generator.training.losses import path_lengths
from generator.training.state import state_bytes, state_from_bytes
from generator.training.trainer import Trainer
from tests.training.training_case import ArrayImages, is_same, largest_difference, parameters, tiny

STYLEGAN = {"generator_architecture": "stylegan", "discriminator_architecture": "stylegan"}
ORIG = {"generator_architecture": "orig", "discriminator_architecture": "orig"}
FAMILIES = pytest.mark.parametrize("family", [STYLEGAN, ORIG], ids=["stylegan", "orig"])


def growing(**changes: Any) -> TrainConfig:
    """4 px for 16 images in batches of 8, fades of 24 and stages of 16 in batches of 8, 16 px in batches of 4."""
    settings: dict[str, Any] = {
        "growing": True,
        "growing_start": 4,
        "growing_stage_kimg": 0.016,
        "growing_fade_kimg": 0.024,
        "batch_by_resolution": "16:4",
        "learning_rate_by_resolution": "8:0.001",
        "path_length_weight": 0.0,
        "lazy": False,
    }
    return tiny(**{**STYLEGAN, **settings, **changes})


def trainer_of(config: TrainConfig, images: int = 0, **options: Any) -> Trainer:
    trainer = Trainer(config, ArrayImages(40, config.resolution, config.channels, config.classes), **options)
    run(trainer, images)
    return trainer


def run(trainer: Trainer, images: int) -> None:
    for _ in trainer.run(images):
        pass


def drawn(generator: Generator, **where: Any) -> Tensor:
    z = torch.randn([2, 16], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return generator.synthesis(generator.mapping_ws(z), **where)


@FAMILIES
@pytest.mark.parametrize("resolution", [8, 16])
def test_ends_of_a_fade(family: dict[str, str], resolution: int) -> None:
    config = growing(**family)
    torch.manual_seed(0)
    generator, critic = Generator(config.generator_config()), make_discriminator(config.discriminator_config())
    coarse = drawn(generator, resolution=resolution // 2)
    fine = drawn(generator, resolution=resolution)
    torch.testing.assert_close(
        drawn(generator, resolution=resolution, alpha=0.0), functional.interpolate(coarse, scale_factor=2)
    )
    assert torch.equal(drawn(generator, resolution=resolution, alpha=1.0), fine)
    between = drawn(generator, resolution=resolution, alpha=0.25)
    torch.testing.assert_close(between, 0.75 * functional.interpolate(coarse, scale_factor=2) + 0.25 * fine)
    with torch.no_grad():
        # mixed with the weight 0, the layers at r have no say
        halved = critic(functional.avg_pool2d(fine, 2))
        torch.testing.assert_close(critic(fine, alpha=0.0), halved)
        assert not torch.allclose(critic(fine), halved)
        assert torch.equal(critic(fine), critic(fine, alpha=1.0))


@FAMILIES
def test_which_layers_have_a_part(family: dict[str, str]) -> None:
    """Names and gradients say the same."""
    config = growing(**family)
    torch.manual_seed(0)
    generator, critic = Generator(config.generator_config()), make_discriminator(config.discriminator_config())
    for resolution, alpha in ((4, 1.0), (8, 0.5), (8, 1.0), (16, 0.0), (16, 1.0)):
        ws = generator.broadcast(generator.mapping(torch.randn([4, 16])))
        image = generator.synthesis(ws, resolution=resolution, alpha=alpha)
        critic(image, alpha=alpha).sum().backward()
        for network in (generator, critic):
            for name, parameter in network.named_parameters():
                assert (parameter.grad is not None) is is_used(name, resolution, alpha), (name, resolution, alpha)
            network.zero_grad(set_to_none=True)
    whole = SynthesisConfig(8, 16, architecture="orig", growing=True)
    assert [styles_at(whole, r) for r in (4, 8, 16)] == [2, 4, 6]
    assert styles_at(StyleGANSynthesisConfig(8, 16, input="latent", use_styles=False), 16) == 1
    assert styles_at(StyleGAN3SynthesisConfig(8, 16), 16) == 16, "one for each layer, whatever the resolution"


def test_training_images_fade_alike() -> None:
    images = torch.arange(64.0).reshape(1, 1, 8, 8)
    assert torch.equal(blend_reals(images, 8, 1.0), images)
    small = blend_reals(images, 4, 1.0)
    assert torch.equal(small[0, 0], images[0, 0].reshape(4, 2, 4, 2).mean(dim=(1, 3)))
    coarse = images[0, 0].reshape(2, 4, 2, 4).mean(dim=(1, 3)).repeat_interleave(2, 0).repeat_interleave(2, 1)
    torch.testing.assert_close(blend_reals(images, 4, 0.25)[0, 0], 0.75 * coarse + 0.25 * small[0, 0])
    torch.testing.assert_close(blend_reals(images, 4, 0.0)[0, 0], coarse)


@FAMILIES
def test_a_run_through_all_stages(family: dict[str, str]) -> None:
    trainer = trainer_of(growing(**family))
    begun = parameters(trainer)
    seen = []
    for count in trainer.run(120):
        if count == 16:
            now = parameters(trainer)
            moved = {name for name in now if not torch.equal(now[name], begun[name])}
            assert moved == {name for name in now if is_used(name, 4, 1.0)}
            # the resolution changes here: the state begins again
            assert not trainer._g_adam.state
            assert not trainer._d_adam.state
        seen.append((count, trainer.stage.resolution, round(trainer.stage.alpha, 3), trainer.stage.batch))
        rates = {trainer._g_adam.param_groups[0]["lr"], trainer._d_adam.param_groups[0]["lr"]}
        assert rates == {0.001 if trainer.stage.resolution == 8 else 0.002}
    growth = [(8, 4, 1), (16, 8, 0), (24, 8, 0.333), (32, 8, 0.667), (40, 8, 1), (48, 8, 1), (56, 16, 0)]
    assert seen[:7] == [(*stage, 8 if stage[1] < 16 else 4) for stage in growth]
    assert seen[7:14] == [(60 + 4 * i, 16, round((i + 1) / 6, 3) if i < 5 else 1, 4) for i in range(7)]
    assert seen[-1][0] == 120
    now = parameters(trainer)
    assert [name for name in now if torch.equal(now[name], begun[name])] == []
    assert trainer.is_finite()
    losses = trainer.losses()
    assert all(math.isfinite(losses[name] or math.nan) for name in ("generator", "discriminator", "r1"))
    images = [index for batch in trainer.data.asked for index in batch]  # type: ignore[attr-defined]
    assert sorted(images[:40]) == list(range(40)), "no image is left out or seen twice where the batch changes"


@pytest.mark.parametrize(
    ("reset", "expected"),
    # new layers after 16 and 56 images, faded in after 40 and 80
    [("resolution", [16, 56]), ("fade", [16, 40, 56, 80]), ("never", [])],
)
def test_when_adam_begins_again(reset: str, expected: list[int]) -> None:
    trainer = trainer_of(growing(adam_reset=reset))
    empty = [count for count in trainer.run(96) if not trainer._g_adam.state and not trainer._d_adam.state]
    assert empty == expected


def test_path_length_of_a_part_as_that_of_the_whole() -> None:
    """Over all layers it is that of the image enlarged to the whole resolution, as the public code has it."""
    torch.manual_seed(0)
    ws = torch.randn(3, 2, 5, requires_grad=True)
    images = torch.einsum("nlw,lwchv->nchv", ws.sin(), torch.randn(2, 5, 3, 4, 4))
    whole = functional.interpolate(images, scale_factor=4)
    y = torch.randn_like(whole)
    (gradient,) = torch.autograd.grad((whole * y).sum() / 16, ws, retain_graph=True)
    rest = torch.zeros(3, 4, 5)  # of the layers that have not grown
    expected = torch.cat([gradient, rest], dim=1).square().sum(dim=2).mean(dim=1).sqrt()
    summed = functional.avg_pool2d(y, 4) * 4  # N(0, 1) again
    torch.testing.assert_close(path_lengths(images, ws, summed, layers=6), expected)


def test_layers_of_the_path_length() -> None:
    lengths = {}
    for layers in ("grown", "all"):
        trainer = trainer_of(growing(**ORIG, path_length_weight=2.0, path_length_layers=layers), 8)
        lengths[layers] = float(trainer.path_length_average)
    assert lengths["all"] == pytest.approx(lengths["grown"] * math.sqrt(2 / 6), rel=1e-5)  # of 6 layers, 2 at 4 px


def test_layers_that_have_had_their_time_rest() -> None:
    """With moments of their own, too, and where a regulariser touches everything."""
    trainer = trainer_of(growing(adam_beta1=0.5, **ORIG, lazy=True, path_length_weight=2.0), 80)
    assert (trainer.stage.resolution, trainer.stage.alpha) == (16, 1.0)
    before = parameters(trainer)
    run(trainer, 120)
    after = parameters(trainer)
    rested = {name for name in after if torch.equal(after[name], before[name]) and not name.startswith("EMA")}
    assert rested == {
        f"{prefix}b{r}.{rest}"
        for prefix, rests in (
            ("G.synthesis.", ("torgb.weight", "torgb.bias", "torgb.affine.weight", "torgb.affine.bias")),
            ("D.", ("fromrgb.weight", "fromrgb.bias")),
        )
        for rest in rests
        for r in (4, 8)
    }


@pytest.mark.parametrize("images", [8, 16, 32, 56, 64])
@pytest.mark.parametrize("changes", [{}, {**ORIG, "lazy": True, "path_length_weight": 2.0}], ids=["stylegan", "orig"])
def test_a_state_saved_while_growing_goes_on_to_the_bit(changes: dict[str, Any], images: int) -> None:
    """In a stage, where a resolution begins, and inside two fades."""
    config = growing(adam_beta1=0.2, mirror=True, **changes)
    first = trainer_of(config, images)
    saved = state_bytes(first.state())
    resumed = trainer_of(config)
    resumed.load_state(state_from_bytes(saved))
    assert (resumed.images, resumed.stage) == (images, first.stage)
    run(first, 76)
    run(resumed, 76)
    assert is_same(resumed.state(), first.state())


@pytest.mark.parametrize(
    "changes",
    [ORIG, {**ORIG, "loss": "wgan-gp", "r1_gamma": 0.0}, {"normalisation": "pixel"}],
    ids=["orig", "wgan-gp", "stylegan"],
)
def test_parts_of_a_growing_batch_train_as_the_whole(changes: dict[str, Any]) -> None:
    """Not with instance normalisation: at first the input is even, and the gradient of its bias rounding alone."""
    config = growing(**changes)
    whole, parts = trainer_of(config, 64), trainer_of(config, 64, micro_batch=4)
    assert largest_difference(parameters(parts), parameters(whole)) < 1e-3
    with pytest.raises(ConfigError, match="a batch of 4 cannot be cut into parts of 8"):
        trainer_of(config, micro_batch=8)


@FAMILIES
@pytest.mark.parametrize("images", [0, 24, 48, 64])
def test_what_is_saved_draws_what_the_network_draws(family: dict[str, str], images: int, tmp_path: Any) -> None:
    trainer = trainer_of(growing(**family), images)
    stage = trainer.stage
    state = torch.get_rng_state()
    part = trainer.sampler()
    assert torch.equal(torch.get_rng_state(), state)
    path = tmp_path / "network.safetensors"
    path.write_bytes(network_bytes(part))
    loaded = load(path).generator
    assert loaded.config.synthesis.img_resolution == stage.resolution
    found = drawn(loaded)
    assert found.shape == (2, 3, stage.resolution, stage.resolution)
    expected = drawn(trainer.average, resolution=stage.resolution, alpha=stage.alpha)
    torch.testing.assert_close(found, expected)


def test_a_network_of_given_widths_is_cut_too() -> None:
    config = growing().generator_config()
    values = json.loads(json.dumps(to_dict(config)))
    values["synthesis"]["channels"] = [12, 8, 4]
    generator = Generator(generator_from_dict(values))
    part = grown_part(generator, 8, 0.5)
    assert part.config.synthesis.channels == (12, 8)
    torch.testing.assert_close(drawn(part), drawn(generator, resolution=8, alpha=0.5))


def test_networks_without_growth_are_written_as_before() -> None:
    values = to_dict(tiny().generator_config())
    assert not {"growing", "alpha"} & values["synthesis"].keys()
    assert "growing" not in to_dict(tiny().discriminator_config())
    assert not {"loss", "growing", "batch_by_resolution"} & to_dict(tiny()).keys()
    assert TrainConfig(**to_dict(growing())) == growing()


ABLATIONS: dict[str, dict[str, Any]] = {
    "latent input": {"synthesis_input": "latent"},
    "no styles": {"synthesis_input": "latent", "use_styles": False, "normalisation": "pixel"},
    "no noise": {"use_noise": False},
    "pixel norm": {"normalisation": "pixel"},
    "no norm": {"normalisation": "none"},
    "no blur": {"blur": False},
    "no mapping": {"mapping_layers": 0},
    "mapping 1": {"mapping_layers": 1},
    "mapping 8": {"mapping_layers": 8},
    "no mixing": {"style_mixing": 0.0},
    "mixing": {"style_mixing": 1.0},
    "not growing": {"growing": False},
    "wgan-gp": {"loss": "wgan-gp", "r1_gamma": 0.0},
    "labels": {"classes": 3, "loss": "wgan-gp", "r1_gamma": 0.0},
    "grey": {"channels": 1},
    "resnet discriminator": {"growing": False, "discriminator_architecture": "resnet"},
    "lazy": {"lazy": True, "path_length_weight": 2.0},
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablations_take_steps(name: str) -> None:
    config = growing(growing_stage_kimg=0.008, growing_fade_kimg=0.008, **ABLATIONS[name])
    trainer = trainer_of(config, 28)
    losses = trainer.losses()
    assert trainer.is_finite()
    assert losses["generator"] is not None
    assert losses["discriminator"] is not None
    assert ("gradient_penalty" in losses) is (config.loss == "wgan-gp")
    if config.loss == "wgan-gp":
        assert losses["r1"] is None
        assert losses["gradient_penalty"] is not None
    assert all(value is None or math.isfinite(value) for value in losses.values())
    assert trainer.images == 28
