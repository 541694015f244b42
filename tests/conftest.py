"""Fixtures that several tests share."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

# The networks of the tests are too small for two threads to be worth their waiting for each other.
os.environ["OMP_NUM_THREADS"] = "1"
# What the tests run must not depend on which of them built the native kernels first; tests that want them ask.
os.environ["INVERT_NATIVE"] = "0"
# Nor on how wide the terminal is.
os.environ["COLUMNS"] = "80"

# `nohup` and shells that start a job in the background have signals ignored, and a process hands that down to its
# children, so that none of them could be interrupted by a test. A handler is not handed down.
with contextlib.suppress(ValueError):  # not the main thread
    for _number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(_number) is signal.SIG_IGN:
            signal.signal(_number, lambda _number, _frame: None)

NAMED_CACHE = os.environ.get("INVERT_CACHE")
"""Where native kernels are kept from one run of the tests to the next, if anywhere."""

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep banks of samples, calibrations and kernels of this session: what the user's cache holds changes no test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INVERT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def uses_native_kernels(item: pytest.Item) -> bool:
    """Return whether a test loads the project's native kernels, for good, into its process."""
    return bool({"kernels", "native", "native_cuda"} & set(getattr(item, "fixturenames", ())))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Once loaded they round otherwise than the portable ones, and some tests compare bits with another process.
    items.sort(key=uses_native_kernels)


@pytest.fixture(scope="session")
def network() -> Path:
    """A 32 px network file as the published PyTorch code writes it, small enough for five steps in a moment."""
    return GOLDEN / "nvidia_ada.pkl"


@pytest.fixture
def threads() -> Iterator[None]:
    """Give PyTorch its number of threads back after a test that changes it."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def default_signals() -> Iterator[None]:
    """Let signals do to this process what they do to one that a terminal started."""
    defaults = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in defaults.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
