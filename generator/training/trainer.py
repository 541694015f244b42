"""The training loop. It owns no files: it yields after every step, and gives and takes its state as tensors.

Reference: Karras et al. 2020, section 3.1 (lazy regularisation), appendix B (training details).
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from generator.networks import Generator
from generator.training.augmentation import AdaptiveProbability, Augmentation, Augmenter, Blur, blur_after
from generator.training.config import TrainConfig
from generator.training.draws import Draws, RandomSource
from generator.training.growth import grown_part, require_used_gradients
from generator.training.images import Images, RealImages, Subset, check_images
from generator.training.objectives import AdversarialLoss, DiscriminatorObjective, GeneratorObjective
from generator.training.optimiser import (
    adam,
    adam_moments,
    adam_state,
    ema_beta,
    load_adam_state,
    set_learning_rate,
    update_ema,
)
from generator.training.processes import World, own_parts
from generator.training.schedule import Stage
from generator.training.spectral import plain_buffers, plain_weights, update_spectral_norm
from generator.training.start import frozen_layers, new_networks
from generator.training.state import Layout, check_state

if TYPE_CHECKING:
    from generator.files.state import LoadedNetwork

__all__ = ["RECORDED", "Trainer"]


RECORDED = ("generator", "discriminator", "real", "fake", "r1", "path_length")
"""What is averaged over the steps of a tick: losses, mean logits, and the two penalties without their weights."""

_FOLLOWED = ("w_mean", "magnitudes")
"""What the generator's running averages follow: the objectives find it, of the images of one phase each."""

_Objective = Callable[[int], tuple[Tensor, dict[str, Tensor]]]


class Trainer:
    """A generator and a discriminator in training.

    Args:
        config: Settings of the run.
        images: The data set.
        micro_batch: Images that one process works on at a time; None: its whole share. A smaller number saves memory
            and changes results by rounding alone.
        world: The processes that train together; None: this one alone.
        start: The network whose layers the run starts with, which the settings name as `start`; None: new ones.

    Attributes:
        config: Settings of the run.
        data: The data set, or the part of it that the settings say.
        generator: The generator that is trained.
        discriminator: The discriminator that is trained.
        average: The averaged generator (EMA), under the names of a plain network.
        images: Number of images seen.
        step: Number of steps done.
        stage: What the next step trains.
        fresh: The layers that are new where the run starts with those of another network.
        path_length_average: The `a` of equation 4, a scalar.

    Raises:
        ConfigError: The images, the micro-batch or the number of processes do not fit the settings.
    """

    def __init__(
        self,
        config: TrainConfig,
        images: Images,
        *,
        micro_batch: int | None = None,
        world: World | None = None,
        start: "LoadedNetwork | None" = None,
    ) -> None:
        check_images(config, images)
        if config.subset:
            images = Subset(images, config.subset, config.subset_seed)
        self.config, self.data = config, images
        self.world = world or World()
        self.device = self.world.device
        self._schedule = config.growth_schedule()
        group = config.mbstd_group_size if config.mbstd_channels else None
        batches = {self._schedule.batch_at(resolution) for resolution in self._schedule.resolutions}
        self._parts_of = {batch: own_parts(batch, group, micro_batch, self.world) for batch in batches}
        networks, self.fresh = new_networks(config, self.device, start)
        self.generator, self.discriminator, self.average = networks
        self._frozen_g = ("mapping.",) if config.freeze_mapping else ()
        self._frozen_d = frozen_layers(self.discriminator, config.freeze_d)
        maps = None if config.precision == "float32" else torch.bfloat16
        loss = AdversarialLoss(config.loss, config.gradient_penalty, config.drift)
        self._recorded = (
            *RECORDED,
            *(("gradient_penalty",) if loss.is_wgan else ()),
            *(("r2",) if loss.is_relativistic else ()),
            *(("real_sign",) if config.augment == "ada" else ()),
        )
        self._objectives = (
            GeneratorObjective(
                *(self.generator, self.discriminator, loss), maps=maps, all_layers=config.path_length_layers == "all"
            ),
            DiscriminatorObjective(self.discriminator, self.generator, loss, maps=maps),
        )
        self._lazy_g = config.path_length_interval if config.lazy and config.path_length_weight else None
        self._lazy_d = config.r1_interval if config.lazy and config.r1_gamma else None
        self._g_adam = adam(self.generator, config, config.learning_rate, self._lazy_g)
        self._d_adam = adam(self.discriminator, config, config.discriminator_learning_rate, self._lazy_d)
        self._real = RealImages(config, images, self.device)
        self._augmenter = None if config.augment == "none" else Augmenter(config)
        self._probability = AdaptiveProbability(config, self.device)
        self._random = RandomSource(
            config.seed,
            config.generator_config(),
            self.average.synthesis.noise_sizes,
            style_mixing=config.style_mixing,
            classes=images.labels if config.classes else None,
            device=self.device,
        )
        self.images = self.step = 0
        self.path_length_average = torch.zeros([], device=self.device)
        self._sums = torch.zeros([len(self._recorded), 2], dtype=torch.float64, device=self.device)
        self._trained_layers: tuple[int, bool] | None = None
        self._enter(self._schedule.at(0))

    def run(self, images: int) -> Iterator[int]:
        """Train until so many images were seen, and yield the number of images seen after every step."""
        with ThreadPoolExecutor(1) as reader:
            ahead: Future[Tensor] | None = None
            while self.images < images:
                real = ahead.result() if ahead is not None else self._read(self.images)
                ahead = reader.submit(self._read, self.images + self.stage.batch)
                self._step(real)
                yield self.images

    def losses(self) -> dict[str, float | None]:
        """Return the means since `reset_losses` by name: those of `RECORDED`, and more where there is more.

        That is "gradient_penalty" of WGAN-GP, "r2" of the relativistic loss, and "real_sign", by which adaptive
        augmentation goes. A mean is None where there was nothing to average.
        """
        return {
            name: total / count if count else None
            for name, (total, count) in zip(self._recorded, self._sums.tolist(), strict=True)
        }

    def reset_losses(self) -> None:
        """Begin new means."""
        self._sums.zero_()

    @property
    def augment_probability(self) -> float | None:
        """The p of augmentation in the next step, in [0, 1]; None where it has none."""
        return None if self.config.augment in ("none", "diff") else self._probability.value

    @property
    def blur(self) -> float:
        """By how many pixels all that the discriminator sees is blurred in the next step, see `transforms.blur`."""
        return blur_after(self.config, self.images)

    def sampler(self) -> Generator:
        """Return a network that gives the average's images: the average itself, or the part of it that has grown."""
        if not self.config.growing:
            return self.average
        return grown_part(self.average, self.stage.resolution, self.stage.alpha)

    def is_finite(self) -> bool:
        """Whether all weights and losses are numbers."""
        tensors = [*self.generator.parameters(), *self.discriminator.parameters(), *self.average.parameters()]
        norms = torch.stack(torch._foreach_norm([tensor.detach() for tensor in tensors], math.inf))
        return bool(norms.isfinite().all()) and bool(self._sums.isfinite().all())

    def state(self) -> dict[str, Tensor]:
        """Return everything that the next step depends on."""
        state = {
            "images": torch.tensor(self.images),
            "step": torch.tensor(self.step),
            "path_length_average": self.path_length_average,
            "losses": self._sums,
            **self._probability.state(),
        }
        for prefix, network, optimiser in self._trained():
            state |= {f"{prefix}.{name}": value.detach() for name, value in network.state_dict().items()}
            state |= {f"adam.{prefix}.{name}": value for name, value in adam_state(network, optimiser).items()}
        state |= {f"EMA.{name}": value.detach() for name, value in self.average.state_dict().items()}
        return state

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Resume from what `state` returned, in a trainer with the same settings.

        Raises:
            NetworkFileError: It is no such state; the trainer is as it was.
        """
        check_state(state, self.layout())
        for prefix, network, optimiser in self._trained():
            network.load_state_dict(_part(state, prefix))
            load_adam_state(network, optimiser, _part(state, f"adam.{prefix}"))
        self.average.load_state_dict(_part(state, "EMA"))
        self.images, self.step = int(state["images"]), int(state["step"])
        self.path_length_average.copy_(state["path_length_average"])
        self._sums.copy_(state["losses"])
        self._probability.load_state(state)
        self._enter(self._schedule.at(self.images))

    def layout(self) -> Layout:
        """Return what every state of this run consists of."""
        tensors = {"images": torch.tensor(0), "step": torch.tensor(0), "losses": self._sums}
        tensors["path_length_average"] = self.path_length_average
        tensors |= self._probability.state()
        moments = {}
        for prefix, network, _ in (*self._trained(), ("EMA", self.average, None)):
            tensors |= {f"{prefix}.{name}": value for name, value in network.state_dict().items()}
        for prefix, network, _ in self._trained():
            for name, kinds in adam_moments(network).items():
                moments[f"adam.{prefix}.{name}"] = {f"adam.{prefix}.{key}": kind for key, kind in kinds.items()}
        steps = {key for kinds in moments.values() for key in kinds if key.endswith(":step")}
        kinds = {name: (value.shape, value.dtype) for name, value in tensors.items()}
        return Layout(kinds, moments, frozenset({"images", "step", *steps}))

    def _trained(self) -> list[tuple[str, nn.Module, torch.optim.Adam]]:
        return [("G", self.generator, self._g_adam), ("D", self.discriminator, self._d_adam)]

    def _read(self, images: int) -> Tensor:
        """Return this process's share of the training images of the step that begins when so many were seen."""
        batch = self._schedule.at(images).batch
        return self._real.read(images, batch, [index for part in self._parts_of[batch] for index in part])

    def _enter(self, stage: Stage) -> None:
        """Be ready for a step of a stage."""
        self.stage, self._parts = stage, self._parts_of[stage.batch]
        set_learning_rate(self._g_adam, stage.learning_rate, self._lazy_g)
        set_learning_rate(self._d_adam, stage.discriminator_learning_rate, self._lazy_d)
        trained = (stage.resolution, stage.alpha < 1)
        if trained != self._trained_layers:
            self._trained_layers = trained
            for network, frozen in ((self.generator, self._frozen_g), (self.discriminator, self._frozen_d)):
                require_used_gradients(network, self.config.growing, stage.resolution, stage.alpha, frozen)
            # A data-parallel wrapper wants to know beforehand which parameters will have gradients.
            self._generate, self._discriminate = map(self.world.wrap, self._objectives)

    def _step(self, real: Tensor) -> None:
        """Train both networks on one batch: generator, path length, discriminator, R1."""
        config = self.config
        images = torch.split(self._real.to_images(real, self.stage), [len(part) for part in self._parts])
        update_spectral_norm(self.generator)
        found: dict[str, Tensor] = {}

        # the generator's gradient passes through the discriminator, whose own weights need none
        self.discriminator.requires_grad_(False)
        path_due = bool(config.path_length_weight) and self.step % config.path_length_interval == 0
        if config.lazy:
            # A penalty that counts in one step of k is k times as heavy there: its mean over the steps is the same.
            found |= self._train_generator("G", images, 0.0)
            if path_due:
                weight = config.path_length_weight * config.path_length_interval
                found |= self._train_generator("path length", None, weight)
        else:
            found |= self._train_generator("G", images, config.path_length_weight)
        stage = self.stage
        require_used_gradients(self.discriminator, config.growing, stage.resolution, stage.alpha, self._frozen_d)

        update_spectral_norm(self.discriminator)
        half_gamma = config.r1_gamma / 2
        if config.lazy:
            found |= self._train_discriminator(images, True, 0.0)
            if half_gamma and self.step % config.r1_interval == 0:
                found |= self._train_discriminator(images, False, half_gamma * config.r1_interval)
        else:
            found |= self._train_discriminator(images, True, half_gamma)

        self.images += self.stage.batch
        self.step += 1
        self._finish(found)
        before, after = self.stage, self._schedule.at(self.images)
        if config.adam_reset != "never" and after.begins_anew(before, fades=config.adam_reset == "fade"):
            # What Adam knows of the gradients is of other images, at another rate.
            self._g_adam.state.clear()
            self._d_adam.state.clear()
        self._enter(after)

    def _train_generator(self, phase: str, images: Sequence[Tensor] | None, weight: float) -> dict[str, Tensor]:
        """Take a step of the generator, with its adversarial loss where there are training images to play with."""

        def objective(part: int) -> tuple[Tensor, dict[str, Tensor]]:
            resolution, alpha = self.stage.resolution, self.stage.alpha
            draws = self._random.draw(
                phase, self.step, self._parts[part], path_length=bool(weight), resolution=resolution
            )
            augment = real = None
            if images is not None:
                augment = self._augmentation(phase, part)
                if self.config.loss == "relativistic":
                    shown = self._augmentation(f"{phase} real", part)
                    real = images[part] if shown is None else shown(images[part])
                    draws = self._paired(draws, part)
            result: tuple[Tensor, dict[str, Tensor]] = self._generate(
                *(draws, self.path_length_average, images is not None, weight, resolution, alpha, augment, real)
            )
            return result

        return _named(self._descend(self._generate, self._g_adam, objective), phase)

    def _train_discriminator(self, images: Sequence[Tensor], adversarial: bool, weight: float) -> dict[str, Tensor]:
        def objective(part: int) -> tuple[Tensor, dict[str, Tensor]]:
            indices = self._parts[part]
            resolution, alpha = self.stage.resolution, self.stage.alpha
            draws, loss, phase = None, self.config.loss, "D" if adversarial else "R1"
            if adversarial or loss == "relativistic":  # which has a penalty on generated images too
                draws = self._random.draw(
                    phase, self.step, indices, interpolates=loss == "wgan-gp", resolution=resolution
                )
                draws = self._paired(draws, part) if loss == "relativistic" else draws
            labels = self._real.labels(self.images, self.stage.batch, indices)
            augments = (
                self._augmentation(f"{phase} real", part),
                None if draws is None else self._augmentation(f"{phase} fake", part),
            )
            result: tuple[Tensor, dict[str, Tensor]] = self._discriminate(
                draws, images[part], labels, weight, resolution, alpha, augments, adversarial
            )
            return result

        return _named(self._descend(self._discriminate, self._d_adam, objective), "D")

    def _paired(self, draws: Draws, part: int) -> Draws:
        """Return draws for images of the classes that the training images have: only alike are compared."""
        labels = self._real.labels(self.images, self.stage.batch, self._parts[part])
        return dataclasses.replace(draws, labels=labels)

    def _augmentation(self, phase: str, part: int) -> Augmentation | None:
        """Return what happens to the images of a micro-batch before the discriminator sees them."""
        sigma, augment = self.blur, None
        if self._augmenter is not None:
            augment = self._augmenter.draw(phase, self.step, self._parts[part], self._probability.value)
        return Blur(sigma, augment) if sigma else augment

    def _descend(self, module: nn.Module, optimiser: torch.optim.Adam, objective: _Objective) -> dict[str, Tensor]:
        """Take one step of Adam along the gradient of the mean over all micro-batches; return the statistics' means."""
        optimiser.zero_grad(set_to_none=True)
        parts = len(self._parts)
        totals: dict[str, Tensor] = {}
        for part in range(parts):
            # Gradients travel between processes once, with the last micro-batch.
            silent = self.world.size > 1 and part < parts - 1
            with module.no_sync() if silent else contextlib.nullcontext():  # type: ignore[operator]
                loss, found = objective(part)
                (loss / parts).backward()  # type: ignore[no-untyped-call]
            for name, value in found.items():
                totals[name] = totals.get(name, 0) + value / parts
        optimiser.step()
        return totals

    def _finish(self, found: dict[str, Tensor]) -> None:
        """Share what was found among the processes; update the running averages."""
        config = self.config
        found = dict(zip(found, self.world.mean(list(found.values())), strict=True))
        for row, name in enumerate(self._recorded):
            if name in found:
                self._sums[row, 0] += found[name]
                self._sums[row, 1] += 1
        if "real_sign" in found:
            self._probability.update(found["real_sign"], self.stage.batch, self.step)
        if "length" in found:
            # Appendix B keeps one average per device; here all processes share it. It moves after the step, so that
            # every micro-batch is compared with the same constant.
            self.path_length_average.lerp_(found["length"], 1 - config.path_length_decay)
        passes = {"generator": ("G",), "discriminator": ("D",), "all": ("G", "path length", "D")}
        for phase in passes[config.w_avg_passes]:
            if f"w_mean of {phase}" in found:
                self.generator.mapping.update_average(found[f"w_mean of {phase}"])
            if f"magnitudes of {phase}" in found:
                self.generator.synthesis.follow(found[f"magnitudes of {phase}"])
        warmup = config.ema_warmup or None
        beta = ema_beta(config.ema_half_life_kimg * 1000, self.stage.batch, self.images, warmup)
        update_ema(self.average, plain_weights(self.generator), plain_buffers(self.generator), beta)


def _named(found: dict[str, Tensor], phase: str) -> dict[str, Tensor]:
    """Return what was found, of which what running averages follow carries the name of the phase."""
    return {f"{name} of {phase}" if name in _FOLLOWED else name: value for name, value in found.items()}


def _part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): value for name, value in state.items() if name.startswith(f"{prefix}.")}
