"""One run of the engine: images through a session into an output, and what became of them, counted in one place.

with open_run(job, list_images_of_the_job, on_note=..., on_warning=...) as run:
    for event in run.events():        # `invert.batch.work.Event`
        ...
    run.finish()
    run.exit_code(), run.summary()
"""

import contextlib
import dataclasses
import statistics
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invert.batch.images import Found, OnMessage
from invert.batch.job import Job
from invert.batch.outputs import RunOutput, open_output
from invert.batch.start import read_start
from invert.batch.work import Done, Duplicate, Event, Failed, Warnings, work
from invert.batch.workers import Preparation, run_workers
from invert.errors import ExitCode, UsageError, display_path
from invert.images.faces import require_face_finder
from invert.store.index import FolderEntry
from invert.store.protocol import ImageStore

if TYPE_CHECKING:
    from invert.projection.session import Session

__all__ = ["Run", "open_run"]


def _silent(_: str) -> None:
    return


class Run:
    """Images on their way through a session into an output. Made by `open_run`.

    Attributes:
        session: What projects them.
        output: Where the results go.
        found: The images.
        finished_before: Whether an earlier run did everything, so that there is nothing to do.
        projected: Images whose result was made now.
        reused: Images that had a result before, or are the same as another.
        failed: Images that could not be read.
        diverged: Images with a result from before a step that was not finite, or with none for that reason.
        gone: Results of images that are not there any more.
    """

    def __init__(
        self,
        job: Job,
        session: "Session",
        output: RunOutput,
        found: Found,
        store: ImageStore | None,
        on_warning: OnMessage,
    ) -> None:
        self.session, self.output, self.found = session, output, found
        self.finished_before = store is None
        self._job, self._store, self._on_warning = job, store, on_warning
        self.projected = self.reused = self.failed = self.diverged = self.gone = 0
        self._without_result = 0
        self._distances = array("d")
        self._warnings = Warnings(on_warning)

    def events(self) -> Iterator[Event]:
        """Do the work, and yield what happens; close the iterator before anything is said of its end.

        Raises:
            InvertError: A result cannot be written, or a worker process ended early.
        """
        if self._store is None:
            return
        with contextlib.closing(self._engine(self._store)) as events:  # type: ignore[type-var]
            for event in events:
                self._count(event)
                self._film(event)
                yield event

    def _film(self, event: Event) -> None:
        """Write the film of an image that was done now, where one is wanted."""
        films = self.output.films
        if films is None or not isinstance(event, Done | Failed) or event.projection is None:
            return
        if isinstance(event, Done) and isinstance(event.kept, FolderEntry):
            films.finish(event.projection, event.kept.name)
        else:
            films.forget(event.projection)

    def _engine(self, store: ImageStore) -> Iterator[Event]:
        session, job, images = self.session, self._job, self.found.mine
        if job.workers == 1 or job.out is None:
            if self.output.films is not None:
                session.projector().watcher = self.output.films.watch
            return work(session.projector(), store, images, session.policy, identity=self.output.identity)
        preparation = Preparation(job.out, session.path, session.sha256, session.config, session.policy, session.start)
        return run_workers(job.workers, preparation, images)

    def finish(self, *, complete: bool = True) -> None:
        """End the run: sum up warnings, finish the output.

        Args:
            complete: Whether all events have come; otherwise the same job is to be resumed.

        Raises:
            OutputError: The output cannot be written.
        """
        self._warnings.sum_up()
        if complete:
            self.gone = self.output.gone(self.found)
            if self.gone:
                self._on_warning(f"{self.gone} finished images are not there any more; their results are kept")
        self.output.finish(self.found, complete=complete)

    @property
    def results(self) -> int:
        """How many images have a result."""
        return self.projected + self.reused

    @property
    def images(self) -> int:
        """How many images there are, as far as anybody knows."""
        return len(self.found.names) if self.found.count is None else self.found.count

    def exit_code(self) -> ExitCode:
        """Return what a program ends with after `finish`."""
        if self.finished_before:
            before = self.output.finished_before()
            return ExitCode.PARTIAL if before is not None and before.failures else ExitCode.OK
        code = ExitCode.PARTIAL if self.failed or self.diverged or self.gone else ExitCode.OK
        if not self.gone and self.diverged and self.diverged == self.results + self._without_result:
            code = ExitCode.NUMERIC
        elif not self.gone and not self.results and self.images:
            code = ExitCode.NO_INPUT
        if self._job.shard is not None and code != ExitCode.OK:
            code = ExitCode.PARTIAL  # the other shards decide whether there is anything usable
        return code

    def summary(self, code: str | None = None) -> dict[str, Any]:
        """Return what is to be said of the run, as JSON types.

        Args:
            code: Stable name of how it ended; None: "done", "some-failed" or "finished-before".
        """
        before = self.output.finished_before() if self.finished_before else None
        if before is not None:
            counts = {"images": before.images + before.failures, "projected": 0, "reused": before.images}
            return {"code": "finished-before", **counts, "failed": before.failures, "out": str(self._job.out)}
        spread = None
        if self._distances:
            median, mean = statistics.median(self._distances), statistics.fmean(self._distances)
            spread = {"median": median, "mean": mean, "smallest": min(self._distances), "largest": max(self._distances)}
        return {
            "code": code or ("done" if self.exit_code() == ExitCode.OK else "some-failed"),
            "images": self.images,
            "projected": self.projected,
            "reused": self.reused,
            "failed": self.failed,
            "diverged": self.diverged,
            "distance": spread,
            **self.output.summary(),
        }

    def _count(self, event: Event) -> None:
        if isinstance(event, Done):
            self.projected += event.is_new
            self.reused += not event.is_new
            self.diverged += event.status != "ok"
            self._distances.append(event.distance)
            if event.is_new:
                self._warn(event)
        elif isinstance(event, Duplicate):
            self.reused += 1
        elif isinstance(event, Failed) and not event.by_rule:
            self._without_result += event.code == "diverged"
            self.diverged += event.code == "diverged"
            self.failed += event.code != "diverged"

    def _warn(self, event: Done) -> None:
        self._warnings.of(event.path, event.warnings)
        if event.status != "ok":
            self._on_warning(f"image '{display_path(event.path)}': a step was not finite, its best state is kept")


@contextlib.contextmanager
def open_run(
    job: Job,
    find: Callable[[RunOutput], Found],
    *,
    on_note: OnMessage = _silent,
    on_warning: OnMessage = _silent,
) -> Iterator[Run]:
    """Open the output of a job, find its images, settle its session, and give a run that is ready to go.

    Args:
        job: What is to be done.
        find: Lists the images; it is told of the output, for what lies there is no input.
        on_note: Called with a line on what was decided or takes long.
        on_warning: Called with a line on what the user should know.

    Raises:
        InvertError: The network, the settings or the output cannot be used, or there are no images.
    """
    with open_output(job, on_note, on_warning) as output:
        found = find(output)
        if job.policy.align != "none":
            require_face_finder()
        # Only now: what is above must be quick, and this imports torch.
        from invert.projection.session import load_network

        network = (
            load_network(job.network, on_warning, any_shape=True) if isinstance(job.network, Path) else job.network
        )
        session, store = _begin(dataclasses.replace(job, network=network), output, found, on_note, on_warning)
        yield Run(job, session, output, found, store, on_warning)


def _begin(
    job: Job, output: RunOutput, found: Found, on_note: OnMessage, on_warning: OnMessage
) -> "tuple[Session, ImageStore | None]":
    """Settle a job's session as the output has it already, and begin its store.

    Raises:
        InvertError: See `open_run`.
    """
    from invert.projection.session import open_session

    start = None
    if not isinstance(job.network, Path):
        start = read_start(job.config, job.network, on_warning, on_note, found)
    while True:
        resumed = output.resumed()
        session = open_session(
            job.network,
            job.config,
            job.policy,
            workers=job.workers,
            resumed=resumed,
            on_message=on_note,
            on_warning=on_warning,
            any_shape=True,
            start=start,
        )
        try:
            return session, output.begin(session, found)
        except UsageError as error:
            # Another shard may have begun in between: its record settles it for this one too.
            if error.code != "settings-differ" or output.resumed() == resumed:
                raise
