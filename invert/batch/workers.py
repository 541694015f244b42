"""Several processes on one machine, each with its own copy of the network and its own threads.

What a process needs is a `Preparation`, which can be sent to it: it loads the network there and opens the store.

Images are handed out one by one, to whoever asks: at the end no process waits for a long queue of another. Entries
are written by the processes themselves; only what happened travels back. Each process has pipes of its own, so that
one that is killed holds no lock that the others need.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING

from generator.openmp import patient_children
from invert.batch.images import Listed
from invert.batch.start import read_start
from invert.batch.work import Done, Event, Failed, work
from invert.errors import InvertError, NetworkError, is_out_of_memory
from invert.images.decoding import ImagePolicy
from invert.projection.config import ProjectConfig
from invert.store.journal import join_journal
from invert.store.protocol import ImageStore

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork
    from invert.projection.session import GivenStart

__all__ = ["Preparation", "Work", "follow_parent", "run_workers"]

Work = Callable[[Iterable[Listed]], Iterator[Event]]
"""What a process does with its images."""

_SHARED_DEPTH = 1
_AGAIN = "What is finished is kept; run the same command again, with fewer --workers if memory was short."


@dataclass(frozen=True)
class Preparation:
    """All that a process needs to work on images; it can be sent to one that is started.

    Args:
        out: The output, whose journal is begun.
        network_path: The network file.
        network_sha256: Digest of what the file is known to hold.
        config: Settled settings.
        policy: What is accepted as an image.
        start: Latents to start from; read from the file that the settings name where None.
    """

    out: Path
    network_path: Path
    network_sha256: str
    config: ProjectConfig
    policy: ImagePolicy
    start: "GivenStart | None" = None

    def __call__(self) -> Work:
        """Load the network in this process, and return what works on images.

        Raises:
            NetworkError: The file cannot be read any more, or has changed.
        """
        from invert.projection.session import load_network, open_session

        network = load_network(self.network_path, any_shape=True)
        start = self.start or read_start(self.config, network)
        session = open_session(network, self.config, self.policy, any_shape=True, start=start)
        if session.network.provenance.sha256 != self.network_sha256:
            raise NetworkError("changed while it was in use", path=self.network_path, advice="Run again.")
        store = self.open_store(session.network)
        # Little is read ahead: what one process holds, the others cannot do.
        return lambda images: work(session.projector(), store, images, self.policy, _SHARED_DEPTH)

    def open_store(self, loaded: "LoadedNetwork") -> ImageStore:
        """Return where the results of this process go."""
        return join_journal(self.out)


class _Worker:
    def __init__(self, prepare: Callable[[], Work]) -> None:
        context = get_context("spawn")
        self.tasks, tasks = context.Pipe()
        self.events, events = context.Pipe(duplex=False)
        self.process: SpawnProcess = context.Process(target=_main, args=(prepare, tasks, events), daemon=True)
        with patient_children():
            self.process.start()
        # closed here, so that the end of the process is the end of the pipes
        tasks.close()
        events.close()


def run_workers(count: int, prepare: Callable[[], Work], images: Iterable[Listed]) -> Iterator[Event]:
    """Yield what `count` processes tell while they work through the images.

    Args:
        count: Processes.
        prepare: Called in each process, such as a `Preparation`; it must be picklable.
        images: Taken from the iterable as they are asked for, one by one.

    Raises:
        InvertError: One of the processes failed, with its own error where it could tell; the others are ended.
    """
    stream = iter(images)
    workers = [_Worker(prepare) for _ in range(count)]
    try:
        running = list(workers)
        while running:
            # A worker that wants an image says so on its pipe of tasks; what happened comes on the other one. Images
            # are sent only when they are asked for, so that none waits in a worker that is slow.
            ready = wait([connection for worker in running for connection in (worker.tasks, worker.events)])
            for worker in list(running):
                if worker.events in ready:
                    found = _receive(worker)
                    if found is None:
                        running.remove(worker)
                        continue
                    yield found
                if worker.tasks in ready:
                    _hand_out(worker, list(islice(stream, 1)))  # an empty list: there are no more
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join()


def _receive(worker: _Worker) -> Event | None:
    """Return the next event; None when the process has ended well."""
    try:
        found = worker.events.recv()
    except (EOFError, OSError):
        worker.process.join()
        code = worker.process.exitcode or 0
        how = f"{_signal_name(-code)} ended it" if code < 0 else f"it ended with {code}"
        raise InvertError(f"a worker process stopped early: {how}", advice=_AGAIN, code="worker-killed") from None
    if isinstance(found, BaseException):
        raise found
    result: Event | None = found
    return result


def _signal_name(number: int) -> str:
    names = {int(one): one.name for one in signal.Signals}
    return f"{names.get(number, 'signal')} ({number})"


def _hand_out(worker: _Worker, images: list[Listed]) -> None:
    try:
        worker.tasks.recv()
        worker.tasks.send(images)
    except (EOFError, OSError):
        pass  # the end of the process shows on its other pipe, with the reason


def _main(prepare: Callable[[], Work], tasks: Connection, events: Connection) -> None:
    """Run in each process: ask for images until there are none."""
    follow_parent()

    def images() -> Iterator[Listed]:
        while True:
            tasks.send(None)
            group = tasks.recv()
            if not group:
                return
            yield from group

    try:
        for event in prepare()(images()):
            events.send(event.without_arrays() if isinstance(event, Done | Failed) else event)
        events.send(None)
    except InvertError as error:
        events.send(error)
    except Exception as error:
        if is_out_of_memory(error):
            events.send(InvertError("a worker process ran out of memory", advice=_AGAIN, code="worker-memory"))
        else:
            events.send(RuntimeError(f"{type(error).__name__}: {error}"))
    events.close()


def follow_parent() -> None:
    """Let the process that started this one decide when it ends: it ends with that one, and not by Ctrl-C."""
    # Ctrl-C goes to all processes of a terminal; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
