"""The processes that train together: one, or several started by torchrun."""

import inspect
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from generator.errors import ConfigError

__all__ = ["World", "join_world", "micro_batches", "own_parts"]


@dataclass(frozen=True)
class World:
    """This process among all that train together.

    Attributes:
        rank: Number of this process, in 0..size - 1; only rank 0 writes files.
        size: Number of processes.
        device: Device on which this process computes.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return a module whose gradients are averaged over the processes."""
        if self.size == 1:
            return module
        # Buffers are equal everywhere by construction. torch 2.15 renamed the argument.
        known = inspect.signature(DistributedDataParallel.__init__).parameters
        silent = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        # The layout of a 1x1 weight is ambiguous, and DDP remarks on it once per process.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        arguments: dict[str, Any] = {silent: False}
        return DistributedDataParallel(module, **arguments)

    def mean(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return each tensor averaged over the processes, all in one message."""
        if self.size == 1:
            return list(tensors)
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        parts = torch.split(flat / self.size, [tensor.numel() for tensor in tensors])
        return [part.reshape(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]

    def agree(self, value: Any) -> Any:
        """Return what rank 0 has, as plain types."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]


@contextmanager
def join_world(kind: str, timeout: timedelta = timedelta(minutes=30)) -> Iterator[World]:
    """Join the processes that torchrun started, or be alone.

    Args:
        kind: Device, such as "cpu" (gloo), "cuda" (nccl, one device per process) or, for one process, "cuda:1".
        timeout: Time after which a process that waits for the others gives up.

    Yields:
        This process among them.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield World(device=torch.device(kind))
        return
    device = torch.device("cpu")
    if kind.startswith("cuda"):
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if kind.startswith("cuda") else "gloo", timeout=timeout)
    try:
        yield World(dist.get_rank(), dist.get_world_size(), device)
    finally:
        dist.destroy_process_group()


def micro_batches(batch: int, group_size: int | None, size: int) -> list[list[int]]:
    """Cut a batch into micro-batches that hold whole minibatch-deviation groups.

    Groups are defined on the whole batch: images i, i + batch / group, i + 2 batch / group ... A micro-batch
    takes consecutive groups, in the order in which the layer will find the same groups again.

    Args:
        batch: Images in the whole batch.
        group_size: Images in a group; None: there are no groups.
        size: Images in a micro-batch.

    Returns:
        The places of each micro-batch's images in the whole batch.

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
        batch: Images in the whole batch.
        group_size: Images in a group of the minibatch deviation; None: there are no groups.
        micro_batch: Images at a time; None: the process's whole share.
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
