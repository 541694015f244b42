"""From a network file to images on their way into the journal, in this process or in one that it starts."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invert.batch.images import Listed
from invert.batch.work import Event, ImageStore, work
from invert.batch.workers import Work
from invert.errors import NetworkError
from invert.images.decoding import ImagePolicy
from invert.projection.config import ProjectConfig, method_record
from invert.store.journal import join_journal
from invert.store.manifest import Manifest

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork

__all__ = ["Preparation", "describe"]

_SHARED_DEPTH = 1


def describe(
    loaded: "LoadedNetwork",
    config: ProjectConfig,
    policy: ImagePolicy,
    run: dict[str, Any],
    *,
    noise: str,
    images: bool,
) -> Manifest:
    """Return what all images of a batch have in common; see `Manifest`."""
    provenance, settings = loaded.provenance, loaded.generator.config
    network = {
        "sha256": provenance.sha256,
        "weights_sha256": provenance.weights_sha256,
        "family": provenance.family,
        "resolution": settings.synthesis.img_resolution,
        "channels": settings.synthesis.img_channels,
        "num_ws": settings.synthesis.num_ws,
        "w_dim": settings.synthesis.w_dim,
    }
    return Manifest(method_record(config, provenance.sha256, policy.record()), run, network, noise, images)


@dataclass(frozen=True)
class Preparation:
    """All that a process needs to work on a batch; it can be sent to one that is started.

    Args:
        out: The output, whose journal is begun.
        network_path: The network file. network_sha256: What it is known to hold.
        config: With batch, threads and device settled.
        policy: What is accepted as an image.
    """

    out: Path
    network_path: Path
    network_sha256: str
    config: ProjectConfig
    policy: ImagePolicy

    def __call__(self) -> Work:
        """Load the network in this process, and return what works on images.

        Raises:
            NetworkError: The file cannot be read any more, or has changed.
        """
        from generator.errors import GeneratorError
        from generator.files.reading import load
        from invert.projection.session import prepare_process

        prepare_process(self.config.device, self.config.threads, lambda _: None)
        try:
            loaded = load(self.network_path)
        except (OSError, GeneratorError) as error:
            raise NetworkError(f"cannot be read any more, {error}", path=self.network_path) from error
        if loaded.provenance.sha256 != self.network_sha256:
            raise NetworkError("changed while it was in use", path=self.network_path, advice="Run again.")
        # Little is read ahead: what one process holds, the others cannot do.
        return self.work_with(loaded, self.open_store(loaded), depth=_SHARED_DEPTH)

    def open_store(self, loaded: "LoadedNetwork") -> ImageStore:
        """Return where the results of this process go."""
        return join_journal(self.out)

    def work_with(
        self, loaded: "LoadedNetwork", store: ImageStore, depth: int | None = None
    ) -> Callable[[Iterable[Listed]], Iterator[Event]]:
        """Return what works on images, for a network that is loaded and a process that is set up."""
        from invert.projection.session import build_projector

        projector = build_projector(loaded, self.config, batch=self.config.batch or 1, device=self.config.device)
        return lambda images: work(projector, store, images, self.policy, depth)
