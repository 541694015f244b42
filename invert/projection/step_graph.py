"""A step's work as one graph of a GPU: recorded once, then started as a whole.

At 32 px a step is some 300 small pieces of work, and a GPU is done with each before the next is asked for. A graph asks
for all of them at once. What changes from step to step, noise and rate, is copied to where the graph looks for it.
"""

import os
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["StepGraph", "step_recorder"]

_BEFORE = 3  # times that the work is done by itself first: libraries choose and set up on their first calls


class StepGraph:
    """Work on tensors of a CUDA device that is recorded after some times, and then repeated.

    Args:
        work: Takes and returns tensors that stay where they are, and never asks the device for a number. It is a whole
            step each time that it is called: those before the recording count as well.
    """

    def __init__(self, work: Callable[[], Tensor]) -> None:
        self._work, self._done = work, 0
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._recorded: tuple[torch.cuda.CUDAGraph, Tensor] | None = None

    def __call__(self) -> Tensor:
        """Do the work once; the result is overwritten by the next call."""
        if self._recorded is None and self._done < _BEFORE:
            self._done += 1
            # On a stream of its own, as a recording is: memory and workspaces are then those of the recording.
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                result = self._work()
            torch.cuda.current_stream().wait_stream(self._stream)
            return result
        if self._recorded is None:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=self._stream):  # records, and does nothing yet
                result = self._work()
            self._recorded = graph, result
        graph, result = self._recorded
        graph.replay()
        return result


def step_recorder(device: torch.device) -> type[StepGraph] | None:
    """Return what records the steps of a device where INVERT_STEP_GRAPH asks for it, else None."""
    wanted = os.environ.get("INVERT_STEP_GRAPH", "0") == "1"
    return StepGraph if wanted and device.type == "cuda" else None
