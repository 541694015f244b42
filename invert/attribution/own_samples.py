"""The distances of a network's own samples, where there is no calibration: what is unlike them is not from the network.

The samples go the way of any image in question: they are written as files and read again.
"""

import dataclasses
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from invert.attribution.candidate import LoadedCandidate
from invert.attribution.populations import generate_samples, sample_source
from invert.attribution.settings import OWN
from invert.attribution.splits import Population
from invert.batch.images import Listed
from invert.batch.work import Done, Stepped, work
from invert.errors import NumericError
from invert.projection.projector import StepRecord
from invert.store.protocol import Nowhere

__all__ = ["with_own_samples"]


def with_own_samples(
    candidate: LoadedCandidate,
    count: int,
    on_step: Callable[[StepRecord], None] | None = None,
    on_message: Callable[[str], None] | None = None,
) -> LoadedCandidate:
    """Measure fresh samples of a network, and return it with them.

    Args:
        candidate: The network; its projector has not been asked for yet.
        count: How many samples, of the seeds that a calibration takes.
        on_step: Called after each step of a group of them.
        on_message: Called with a line on what takes long.

    Raises:
        NumericError: Nothing finite came out of any of them.
    """
    session = candidate.session
    if on_message is not None:
        on_message(f"measuring {count} samples of {candidate.name}, which has no calibration")
    found = []
    with tempfile.TemporaryDirectory(prefix="invert-own-") as folder:
        # On the processor, as for a calibration: elsewhere a seed gives an image that is a little different.
        paths = list(generate_samples(session.network.generator.cpu(), Path(folder), count, session.config.class_index))
        candidate.make_ready()
        images = [Listed(os.fsencode(path.name), path) for path in paths]
        for event in work(session.projector(), Nowhere(), images, session.policy):
            if isinstance(event, Done) and event.projection is not None:
                found.append(candidate.measure(event.projection))
            elif isinstance(event, Stepped) and on_step is not None:
                on_step(event.record)
    own = Population.of(OWN, sample_source(count), found, count - len(found))
    if not own.measurements:
        raise NumericError(f"no sample of {candidate.name} could be measured", code="diverged")
    return dataclasses.replace(candidate, own=own)
