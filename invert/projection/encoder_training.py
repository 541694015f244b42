"""Train an encoder on a network's own samples, whose w are known.

    training = EncoderTraining(generator, settings)
    for record in training.run(): ...            # one record for each step
    training.encoder                             # `invert.projection.encoders.Encoder`

Each step draws from streams of its own, so that a run that was stopped ends as one that was not.
"""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.nn import functional
from torch.optim.adam import adam

from generator.layers import freeze
from generator.networks import Generator
from invert.projection.encoder_settings import EncoderSettings
from invert.projection.encoders import Encoder, EncoderShape, read_metadata
from invert.projection.latents import latent_statistics
from invert.projection.perceptual import Perceptual

__all__ = ["EncoderRecord", "EncoderTraining"]

_STATE = "invert-encoder-state"
_MIXED = 0.25  # share of samples with two w, for which no w is exact
_LEAST_PSI = 0.5  # of truncated samples, half of them
_EVERY = 2  # images are compared in every other step: with the network and LPIPS a step takes twice as long
_WARM_UP = 0.05  # share of the steps over which the rate rises


@dataclass(frozen=True)
class EncoderRecord:
    """One step.

    Attributes:
        step: How many have been made.
        steps: How many there are.
        w_error: Mean squared error of w, where that of the mean w is 1.
        distance: LPIPS between the samples and what the network synthesises of the w that were told, in the last step
            that compared images.
    """

    step: int
    steps: int
    w_error: float
    distance: float


class EncoderTraining:
    """The training of an encoder.

    Args:
        generator: The network; it is frozen.
        settings: How.
        device: Where to work; `generator` is moved there.
    """

    def __init__(self, generator: Generator, settings: EncoderSettings, *, device: torch.device | str = "cpu") -> None:
        self.settings, self.device, self.step = settings, torch.device(device), 0
        self.generator = generator.to(self.device).to(memory_format=torch.channels_last)
        freeze(self.generator)
        self._perceptual = Perceptual(settings.lpips).to(self.device)
        config = generator.config
        torch_rng = torch.random.get_rng_state()
        torch.manual_seed(settings.seed)
        synthesis = config.synthesis
        shape = EncoderShape.of(synthesis.img_resolution, synthesis.img_channels, synthesis.w_dim, settings.width)
        self.encoder = Encoder(shape).to(self.device).to(memory_format=torch.channels_last)
        torch.random.set_rng_state(torch_rng)
        statistics = latent_statistics(self.generator)
        self.encoder.get_buffer("centre").copy_(statistics.centre)
        self.encoder.get_buffer("scale").fill_(statistics.deviation / math.sqrt(synthesis.w_dim))
        self._parameters: list[Tensor] = list(self.encoder.parameters())
        self._means = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._squares = [torch.zeros_like(parameter) for parameter in self._parameters]

    def run(self) -> Iterator[EncoderRecord]:
        """Make the steps that are left, and yield a record of each."""
        distance = math.nan
        while self.step < self.settings.steps:
            w, ws, is_mixed = self._sample(self.step)
            with torch.no_grad():
                images = self.generator.synthesis(ws, "const").clamp(-1, 1)
            told = self.encoder(images)
            scale = self.encoder.get_buffer("scale")
            errors = ((told - w) / scale).square().mean(dim=1)  # [N]
            w_error = errors[~is_mixed].mean() if bool((~is_mixed).any()) else errors.new_zeros([])
            loss = w_error
            if self.step % _EVERY == 0:
                again = self.generator.synthesis(self.generator.broadcast(told), "const")
                distances, _ = self._perceptual.distance(again, self._perceptual.prepare(images))
                loss = loss + distances.mean() + functional.mse_loss(again, images)
                distance = float(distances.detach().mean())
            self._update(torch.autograd.grad(loss, self._parameters))
            self.step += 1
            yield EncoderRecord(self.step, self.settings.steps, float(w_error.detach()), distance)

    @torch.no_grad()
    def _sample(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return w `[N, w_dim]` and styles `[N, styles, w_dim]` of new samples, and whether each is mixed."""
        count, config = self.settings.batch, self.generator.config.mapping
        stream = torch.Generator().manual_seed((self.settings.seed << 32) + step)
        z = torch.randn([2 * count, config.z_dim], generator=stream)
        c = None
        if config.c_dim:
            classes = torch.randint(config.c_dim, [count], generator=stream).repeat(2)
            c = functional.one_hot(classes, config.c_dim).float().to(self.device)
        psi = 1 - (1 - _LEAST_PSI) * (2 * torch.rand([2 * count], generator=stream) - 1).clamp(min=0)
        is_mixed = torch.rand([count], generator=stream) < _MIXED
        cut = torch.randint(1, max(2, self.generator.num_ws), [count, 1, 1], generator=stream)
        w = self.generator.mapping(z.to(self.device), c).to(torch.float32)
        w = self.encoder.get_buffer("centre").lerp(w, psi[:, None].to(self.device))
        first, second = w[:count], w[count:]
        layers = torch.arange(self.generator.num_ws)[None, :, None]
        is_second = ((layers >= cut) & is_mixed[:, None, None]).to(self.device)
        ws = torch.where(is_second, second[:, None], first[:, None])
        return first, ws, is_mixed.to(self.device)

    @torch.no_grad()
    def _update(self, gradients: tuple[Tensor, ...]) -> None:
        share = self.step / self.settings.steps
        rate = self.settings.rate * min(1.0, (share + 1e-3) / _WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * share))
        adam(
            self._parameters,
            list(gradients),
            self._means,
            self._squares,
            [],
            [torch.full([], float(self.step), device=self.device) for _ in self._parameters],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.99,
            lr=rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )

    def state(self, about: Mapping[str, Any]) -> bytes:
        """Return all that a run that was stopped needs to go on, as the content of a file.

        Args:
            about: What the run is, as JSON types.
        """
        names = [name for name, _ in self.encoder.named_parameters()]
        found = {f"encoder.{name}": value for name, value in self.encoder.state_dict().items()}
        for kind, values in (("mean", self._means), ("square", self._squares)):
            found |= {f"{kind}.{name}": value for name, value in zip(names, values, strict=True)}
        tensors = {name: value.detach().cpu().contiguous() for name, value in found.items()}
        content: bytes = save(tensors, {_STATE: json.dumps({"run": dict(about), "step": self.step}, sort_keys=True)})
        return content

    def resume(self, content: bytes, about: Mapping[str, Any]) -> bool:
        """Go on where `state` was taken; return whether it was of the same run.

        Args:
            content: What `state` gave.
            about: What this run is.

        Raises:
            `invert.projection.encoders.DAMAGE`: It is none, or damaged.
        """
        found, state = read_metadata(content, _STATE), load(content)
        if found["run"] != about or type(found["step"]) is not int:
            return False
        prefix = "encoder."
        self.encoder.load_state_dict(
            {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        )
        for (name, _), mean, square in zip(self.encoder.named_parameters(), self._means, self._squares, strict=True):
            mean.copy_(state[f"mean.{name}"])
            square.copy_(state[f"square.{name}"])
        self.step = found["step"]
        return True

    def facts(self) -> dict[str, int | float | str]:
        """Return how the encoder is trained, for its file."""
        return dataclasses.asdict(self.settings)
