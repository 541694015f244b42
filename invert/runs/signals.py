"""Signals to stop a run, which wait for the end of a step."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

__all__ = ["deferred_signals"]

_STOPPING = ("SIGINT", "SIGTERM", "SIGHUP")


@contextlib.contextmanager
def deferred_signals(graceful: bool) -> Iterator[list[int]]:
    """Let the first signal to stop wait for the end of the step; the list then holds it. The second one acts at once.

    Args:
        graceful: Whether signals wait. Several processes cannot agree on a step to stop at: there a signal acts at
            once, and the last snapshot counts.
    """
    asked: list[int] = []
    before: dict[int, Any] = {}

    def ask(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        for known, handler in before.items():
            signal.signal(known, handler)

    if graceful:
        numbers = [getattr(signal, name) for name in _STOPPING if hasattr(signal, name)]
        with contextlib.suppress(ValueError):  # not the main thread
            for number in numbers:
                # nohup and shells that start a job in the background ignore signals on purpose
                if signal.getsignal(number) is not signal.SIG_IGN:
                    before[number] = signal.signal(number, ask)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
