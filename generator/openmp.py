"""How torch's threads wait for each other: briefly by spinning, then asleep.

By default an OpenMP runtime lets a thread that has nothing to do spin for milliseconds: work that comes at once is
begun at once. A step of a small network has some hundred such waits. Where another process needs the core on which a
thread spins, the thread it waits for may be the one that got no core, and each wait takes as long as the spinning: two
programs on two cores slow each other many times over, not twice (measured by `bench/busy_machine.py`).

A runtime reads its variables once, when it is loaded with torch. What a user has set there stays.
"""

import contextlib
import importlib
import os
from collections.abc import Iterator

__all__ = ["PATIENT", "VARIABLES", "be_patient", "import_torch", "patient_children"]

PATIENT = {
    "GOMP_SPINCOUNT": "3000",  # of GCC's runtime, which torch has on Linux: turns of a loop, 300,000 by default
    "KMP_BLOCKTIME": "1",  # of LLVM's and Intel's, which it has on macOS and Windows: milliseconds, 200 by default
}
"""What is set where the user has set nothing."""

VARIABLES = ("OMP_WAIT_POLICY", *PATIENT)
"""Any of these says how the user wants threads to wait."""


def be_patient() -> None:
    """Choose how the threads of this program and of its children wait, unless the user has chosen.

    It is for the start of a program of this project, before torch is imported: later it has no effect.
    """
    if not any(name in os.environ for name in VARIABLES):
        os.environ.update(PATIENT)


@contextlib.contextmanager
def patient_children() -> Iterator[None]:
    """Let processes that are started in the block wait as `be_patient` says; the environment is as before afterwards.

    It is for processes of this project that a program of somebody else starts through it.
    """
    before = dict(os.environ)
    be_patient()
    try:
        yield
    finally:
        for name in PATIENT:
            if name not in before:
                os.environ.pop(name, None)


def import_torch() -> None:
    """Import torch so that its threads wait as `be_patient` says; the environment is as before afterwards.

    It is for libraries. Where torch has been imported already, its threads wait as they do.
    """
    with patient_children():
        importlib.import_module("torch")
