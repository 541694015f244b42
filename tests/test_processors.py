"""How many processors a process may use, whoever limits it."""

import os
from pathlib import Path

import pytest
import torch

from generator.processors import doubt_bfloat16, processors


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this be a machine of eight processors."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def machine(root: Path, membership: str, **files: str) -> Path:
    """Write what the kernel shows of control groups."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(membership)
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("DOT", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/\n", {"cpuDOTmax": "200000 100000\n"}, 2),
        ("0::/\n", {"cpuDOTmax": "150000 100000\n"}, 2),
        ("0::/\n", {"cpuDOTmax": "10000 100000\n"}, 1),
        ("0::/\n", {"cpuDOTmax": "max 100000\n"}, 8),
        ("0::/\n", {"cpuDOTmax": "3200000 100000\n"}, 8),
        ("0::/a/b\n", {"a__cpuDOTmax": "300000 100000\n", "a__b__cpuDOTmax": "max 100000\n"}, 3),
        ("0::/seen/from/outside\n", {"cpuDOTmax": "400000 100000\n"}, 4),
        (
            "4:cpu,cpuacct:/job\n0::/\n",
            {"cpu,cpuacct__job__cpuDOTcfs_quota_us": "250000", "cpu,cpuacct__job__cpuDOTcfs_period_us": "50000"},
            5,
        ),
        ("4:cpu:/\n", {"cpu__cpuDOTcfs_quota_us": "-1", "cpu__cpuDOTcfs_period_us": "100000"}, 8),
        ("4:memory:/\n0::/x\n", {"unified__x__cpuDOTmax": "100000 100000"}, 1),
        ("0::/../..\n", {"cpuDOTmax": "nonsense\n"}, 8),
        ("0::/\n", {"cpuDOTmax": "100000 0\n"}, 8),
        ("no line of a group", {}, 8),
    ],
)
def test_control_groups(tmp_path: Path, eight: None, membership: str, files: dict[str, str], expected: int) -> None:
    assert processors(machine(tmp_path, membership, **files)) == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_affinity(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert processors(tmp_path) == 1
        assert processors() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert processors(tmp_path) == len(before)


def test_a_system_that_knows_no_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for counted, expected in ((6, 6), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda counted=counted: counted)
        assert processors(tmp_path) == expected


@pytest.mark.parametrize(
    ("told", "precision", "device", "is_doubted"),
    [
        ({"avx512_bf16": False, "amx_bf16": False}, "bfloat16", "cpu", True),
        ({"avx512_bf16": True, "amx_bf16": False}, "bfloat16", "cpu", False),
        ({"avx512_bf16": False}, "float32", "cpu", False),
        ({"avx512_bf16": False}, "bfloat16", "cuda", False),
        ({}, "bfloat16", "cpu", False),
    ],
)
def test_bfloat16_is_doubted_where_a_processor_lacks_it(
    told: dict[str, bool], precision: str, device: str, is_doubted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    assert bool(doubt_bfloat16(precision, device)) is is_doubted
