"""The training loop. It owns no files: it yields after every step, and gives and takes its state as tensors.

Reference: Karras et al. 2020, section 3.1 (lazy regularisation), appendix B (training details).
"""

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor, nn

from generator.data import Pictures, picture_order, stream_seed
from generator.draws import RandomSource
from generator.ema import ema_beta, update_ema
from generator.errors import ConfigError
from generator.networks import Discriminator, Generator
from generator.objectives import DiscriminatorObjective, GeneratorObjective
from generator.optimiser import adam, adam_state, load_adam_state
from generator.spectral import add_spectral_norm, plain_buffers, plain_weights, update_spectral_norm
from generator.train_config import TrainConfig
from generator.world import World

__all__ = ["RECORDED", "Trainer", "micro_batches"]

RECORDED = ("generator", "discriminator", "real", "fake", "r1", "path_length")
"""What is averaged over the steps of a tick: losses, mean logits, and the two penalties without their weights."""

_Objective = Callable[[int], tuple[Tensor, dict[str, Tensor]]]


def micro_batches(batch: int, group_size: int | None, size: int) -> list[list[int]]:
    """Cut a batch into micro-batches that hold whole minibatch-deviation groups.

    Groups are defined on the whole batch: pictures i, i + batch / group, i + 2 batch / group ... A micro-batch
    takes consecutive groups, in the order in which the layer will find the same groups again.

    Args:
        batch: Pictures in the whole batch.
        group_size: Pictures in a group; None: there are no groups.
        size: Pictures in a micro-batch.

    Raises:
        ConfigError: `size` is not a whole number of groups, or not a part of the batch.
    """
    group = min(group_size or 1, batch)
    if batch % size or size % group:
        raise ConfigError(
            f"a batch of {batch} cannot be cut into parts of {size}: a part must divide it and hold whole"
            f" minibatch-deviation groups of {group}"
        )
    indices = np.arange(batch).reshape(group, batch // group)
    return [part.flatten().tolist() for part in np.split(indices, batch // size, axis=1)]


class Trainer:
    """A generator and a discriminator in training.

    Args:
        config: How.
        pictures: What on.
        micro_batch: Pictures that one process works on at a time; None: its whole share. Saves memory and changes
            results by rounding alone.
        world: The processes that train together.

    Attributes:
        average: The averaged generator (EMA), under the names of a plain network.
        memory_format: Layout of the pictures; the channels innermost are the fastest.
        images: Pictures seen. step: Steps done.
        path_length_average: The `a` of equation 5.

    Raises:
        ConfigError: The pictures, the micro-batch or the number of processes do not fit the settings.
    """

    def __init__(
        self, config: TrainConfig, pictures: Pictures, *, micro_batch: int | None = None, world: World | None = None
    ) -> None:
        _check_fit(config, pictures)
        self.config, self.pictures = config, pictures
        self.world = world or World()
        self.device = self.world.device
        self.memory_format = torch.channels_last
        group = config.mbstd_group_size if config.mbstd_channels else None
        if config.batch % self.world.size:
            raise ConfigError(f"a batch of {config.batch} cannot be shared by {self.world.size} processes")
        share = config.batch // self.world.size
        parts = micro_batches(config.batch, group, micro_batch or share)
        if len(parts) % self.world.size:
            raise ConfigError(f"micro-batches of {micro_batch} cannot be shared by {self.world.size} processes")
        self._parts = np.array_split(np.array(parts), self.world.size)[self.world.rank].tolist()
        self.generator, self.discriminator, self.average = _networks(config, self.device)
        self._generate = self.world.wrap(GeneratorObjective(self.generator, self.discriminator))
        self._discriminate = self.world.wrap(DiscriminatorObjective(self.discriminator, self.generator))
        lazy_g = config.path_length_interval if config.lazy and config.path_length_weight else None
        lazy_d = config.r1_interval if config.lazy and config.r1_gamma else None
        self._g_adam = adam(self.generator, config, config.learning_rate, lazy_g)
        self._d_adam = adam(self.discriminator, config, config.discriminator_learning_rate, lazy_d)
        self._random = RandomSource(
            config.seed,
            config.generator_config(),
            self.average.synthesis.noise_sizes,
            style_mixing=config.style_mixing,
            classes=pictures.labels if config.classes else None,
            device=self.device,
        )
        self.images = self.step = 0
        self.path_length_average = torch.zeros([], device=self.device)
        self._sums = torch.zeros([len(RECORDED), 2], dtype=torch.float64, device=self.device)

    def run(self, images: int) -> Iterator[int]:
        """Train until so many pictures were seen; yields that number after every step."""
        with ThreadPoolExecutor(1) as reader:
            ahead: Future[Tensor] | None = None
            while self.images < images:
                real = ahead.result() if ahead is not None else self._read(self.images)
                ahead = reader.submit(self._read, self.images + self.config.batch)
                self._step(real)
                yield self.images

    def losses(self) -> dict[str, float | None]:
        """Return the mean of each of `RECORDED` since `reset_losses`; None where there was nothing to average."""
        return {
            name: total / count if count else None
            for name, (total, count) in zip(RECORDED, self._sums.tolist(), strict=True)
        }

    def reset_losses(self) -> None:
        """Begin new means."""
        self._sums.zero_()

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
        }
        for prefix, network, optimiser in self._trained():
            state |= {f"{prefix}.{name}": value.detach() for name, value in network.state_dict().items()}
            state |= {f"adam.{prefix}.{name}": value for name, value in adam_state(network, optimiser).items()}
        state |= {f"EMA.{name}": value.detach() for name, value in self.average.state_dict().items()}
        return state

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` returned, in a trainer with the same settings.

        Raises:
            ConfigError: It is the state of another kind of run.
        """
        try:
            for prefix, network, optimiser in self._trained():
                network.load_state_dict(_part(state, prefix))
                load_adam_state(network, optimiser, _part(state, f"adam.{prefix}"))
            self.average.load_state_dict(_part(state, "EMA"))
            self.images, self.step = int(state["images"]), int(state["step"])
            self.path_length_average.copy_(state["path_length_average"])
            self._sums.copy_(state["losses"])
        except (KeyError, RuntimeError) as error:
            raise ConfigError(f"the saved state does not fit these settings ({str(error).splitlines()[0]})") from error

    def _trained(self) -> list[tuple[str, nn.Module, torch.optim.Adam]]:
        return [("G", self.generator, self._g_adam), ("D", self.discriminator, self._d_adam)]

    def _read(self, first: int) -> Tensor:
        """Return this process's share of a batch of training pictures `[n, C, R, R]`, uint8."""
        config = self.config
        order = picture_order(len(self.pictures), config.seed, first, config.batch)
        mine = [index for part in self._parts for index in part]
        pixels = self.pictures.read([order[index] for index in mine])
        if config.mirror:
            turned = [bool(stream_seed("mirror", config.seed, first + index) & 1) for index in mine]
            pixels = np.where(np.array(turned)[:, None, None, None], pixels[..., ::-1], pixels)
        return torch.from_numpy(np.ascontiguousarray(pixels))

    def _to_images(self, pixels: Tensor) -> Tensor:
        """Return uint8 pictures as float32 in [-1, 1]."""
        images = pixels.to(self.device).to(torch.float32) / 127.5 - 1
        return images.contiguous(memory_format=self.memory_format)

    def _labels(self, part: Sequence[int]) -> Tensor | None:
        if not self.config.classes or self.pictures.labels is None:
            return None
        order = picture_order(len(self.pictures), self.config.seed, self.images, self.config.batch)
        labels = torch.from_numpy(self.pictures.labels[[order[index] for index in part]]).to(self.device)
        return nn.functional.one_hot(labels, self.config.classes).float()

    def _step(self, real: Tensor) -> None:
        """Train both networks on one batch: generator, path length, discriminator, R1."""
        config = self.config
        images = torch.split(self._to_images(real), [len(part) for part in self._parts])
        update_spectral_norm(self.generator)
        found: dict[str, Tensor] = {}

        self.discriminator.requires_grad_(False)
        path_due = bool(config.path_length_weight) and self.step % config.path_length_interval == 0
        if config.lazy:
            found |= self._train_generator("G", True, 0.0)
            if path_due:
                weight = config.path_length_weight * config.path_length_interval
                found |= self._train_generator("path length", False, weight)
        else:
            found |= self._train_generator("G", True, config.path_length_weight)
        self.discriminator.requires_grad_(True)

        update_spectral_norm(self.discriminator)
        half_gamma = config.r1_gamma / 2
        if config.lazy:
            found |= self._train_discriminator(images, True, 0.0)
            if half_gamma and self.step % config.r1_interval == 0:
                found |= self._train_discriminator(images, False, half_gamma * config.r1_interval)
        else:
            found |= self._train_discriminator(images, True, half_gamma)

        self.images += config.batch
        self.step += 1
        self._finish(found)

    def _train_generator(self, phase: str, adversarial: bool, weight: float) -> dict[str, Tensor]:
        def objective(part: int) -> tuple[Tensor, dict[str, Tensor]]:
            draws = self._random.draw(phase, self.step, self._parts[part], path_length=bool(weight))
            result: tuple[Tensor, dict[str, Tensor]] = self._generate(
                draws, self.path_length_average, adversarial, weight
            )
            return result

        return self._descend(self._generate, self._g_adam, objective)

    def _train_discriminator(self, images: Sequence[Tensor], logistic: bool, weight: float) -> dict[str, Tensor]:
        def objective(part: int) -> tuple[Tensor, dict[str, Tensor]]:
            indices = self._parts[part]
            draws = self._random.draw("D", self.step, indices) if logistic else None
            result: tuple[Tensor, dict[str, Tensor]] = self._discriminate(
                draws, images[part], self._labels(indices), weight
            )
            return result

        return self._descend(self._discriminate, self._d_adam, objective)

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
        for row, name in enumerate(RECORDED):
            if name in found:
                self._sums[row, 0] += found[name]
                self._sums[row, 1] += 1
        if "length" in found:
            # Appendix B keeps one average per device; here all processes share it. It moves after the step, so that
            # every micro-batch is held against the same constant.
            self.path_length_average.lerp_(found["length"], 1 - config.path_length_decay)
        self.generator.mapping.update_average(found["w_mean"])
        warmup = config.ema_warmup or None
        beta = ema_beta(config.ema_half_life_kimg * 1000, config.batch, self.images, warmup)
        update_ema(self.average, plain_weights(self.generator), plain_buffers(self.generator), beta)


def _check_fit(config: TrainConfig, pictures: Pictures) -> None:
    wanted = (config.resolution, config.channels)
    if (pictures.resolution, pictures.channels) != wanted:
        has = f"{pictures.resolution} px and {pictures.channels} channels"
        raise ConfigError(f"the pictures have {has}, the network {config.resolution} px and {config.channels}")
    if config.classes and (pictures.labels is None or pictures.classes != config.classes):
        raise ConfigError(f"the network has {config.classes} classes, the pictures {pictures.classes}")
    if not len(pictures):
        raise ConfigError("there are no pictures to train on")


def _networks(config: TrainConfig, device: torch.device) -> tuple[Generator, Discriminator, Generator]:
    """Return the generator, the discriminator and the generator's average, as they begin."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed("start", config.seed))
        generator = Generator(config.generator_config())
        discriminator = Discriminator(config.discriminator_config())
        average = copy.deepcopy(generator).eval().requires_grad_(False)
        if "g" in config.spectral_norm:
            add_spectral_norm(generator)
            update_ema(average, plain_weights(generator), {}, 0.0)
        if "d" in config.spectral_norm:
            add_spectral_norm(discriminator)
    for network in (generator, discriminator, average):
        network.to(device).to(memory_format=torch.channels_last)
    return generator, discriminator, average


def _part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): value for name, value in state.items() if name.startswith(f"{prefix}.")}
