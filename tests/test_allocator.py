import subprocess
import sys

import pytest

from invert.projection.session import keep_freed_memory

PROGRAM = """
import resource, torch
from invert.projection.session import keep_freed_memory
if {keep}:
    keep_freed_memory()
for _ in range(8):
    torch.ones([64 * 2**20 // 4])
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones([64 * 2**20 // 4])
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_freed_memory_is_used_again_without_page_faults() -> None:
    faults = []
    for keep in (True, False):
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(keep=keep)], capture_output=True, text=True, check=True, timeout=60
        )
        faults.append(int(run.stdout))
    assert faults[0] < faults[1] / 3


def test_unknown_platform_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False
