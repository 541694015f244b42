"""How a batch is cut into micro-batches, and these are shared among processes."""

import numpy as np

from generator.errors import ConfigError
from generator.world import World

__all__ = ["micro_batches", "own_parts"]


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


def own_parts(batch: int, group_size: int | None, micro_batch: int | None, world: World) -> list[list[int]]:
    """Return the micro-batches of a process, as indices in the whole batch.

    Args:
        batch, group_size: As of `micro_batches`.
        micro_batch: Pictures at a time; None: the process's whole share.
        world: The processes.

    Raises:
        ConfigError: The batch cannot be cut and shared so.
    """
    if batch % world.size:
        raise ConfigError(f"a batch of {batch} cannot be shared by {world.size} processes")
    parts = micro_batches(batch, group_size, micro_batch or batch // world.size)
    if len(parts) % world.size:
        raise ConfigError(f"micro-batches of {micro_batch} cannot be shared by {world.size} processes")
    own: list[list[int]] = np.array_split(np.array(parts), world.size)[world.rank].tolist()
    return own
