"""Build our own networks around the arrays that a loader found."""

import torch
from torch import Tensor, nn

from generator.errors import ConfigError, NetworkFileError
from generator.loaders.records import Array
from generator.loaders.state import LoadedState
from generator.networks import AnyDiscriminator, Generator, make_discriminator

__all__ = ["build_discriminator", "build_generator"]

W_AVG_SAMPLES = 10_000  # as StyleGAN2 estimates its centre (Karras et al. 2020, appendix D)
BATCH = 1000


def build_generator(state: LoadedState) -> Generator:
    """Build the generator; a missing `w_avg` is the mean of w over seeded latents.

    Raises:
        NetworkFileError: The settings do not make a network.
    """
    arrays = state.generator_state
    config = state.generator_config
    with torch.random.fork_rng(devices=[]):  # the initial weights are thrown away; so is what they drew
        try:
            generator = Generator(config)
        except ConfigError as error:
            raise NetworkFileError(f"unsupported: {error}") from None
    average = {} if "mapping.w_avg" in arrays else {"mapping.w_avg": torch.zeros(config.mapping.w_dim)}
    _fill(generator, arrays, average)
    if average:
        generator.mapping.w_avg.copy_(_mean_w(generator))
    return generator


def build_discriminator(state: LoadedState) -> AnyDiscriminator | None:
    """Build the discriminator, if there is one.

    Raises:
        NetworkFileError: The settings do not make a network.
    """
    if state.discriminator_config is None or state.discriminator_state is None:
        return None
    with torch.random.fork_rng(devices=[]):
        try:
            discriminator = make_discriminator(state.discriminator_config)
        except ConfigError as error:
            raise NetworkFileError(f"unsupported: {error}") from None
    _fill(discriminator, state.discriminator_state, {})
    return discriminator


def _fill(module: nn.Module, arrays: dict[str, Array], more: dict[str, Tensor]) -> None:
    module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()} | more, strict=True)
    module.eval()


@torch.no_grad()
def _mean_w(generator: Generator) -> Tensor:
    """Return the mean of w `[w_dim]` over `W_AVG_SAMPLES` latents drawn with a fixed seed."""
    rng = torch.Generator().manual_seed(0)
    total = torch.zeros(generator.config.mapping.w_dim, dtype=torch.float64)
    for _ in range(W_AVG_SAMPLES // BATCH):
        z = torch.randn([BATCH, generator.config.mapping.z_dim], generator=rng)
        total += generator.mapping(z).to(torch.float64).sum(dim=0)
    return (total / W_AVG_SAMPLES).to(torch.float32)
