"""A real SLURM of one machine, this one, for as long as a test needs it: munge, a controller and a node."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

__all__ = ["slurm_node"]

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
_START = 120.0  # seconds until the node has to be idle
_STOP = 60.0

# No database, no cgroups, no mail, and no port open to other machines.
_CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MailProg=/bin/true
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
ReturnToService=2
KillWait=2
SchedulerParameters=batch_sched_delay=0
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={processors} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@contextlib.contextmanager
def slurm_node(processors: int = 2) -> Iterator[Path]:
    """Start it, name it in SLURM_CONF, and end all of it afterwards.

    Yields:
        The folder of its settings and logs.
    """
    _skip_unless_possible()
    # Not a folder of pytest's: munge wants its socket where everybody may reach it, by a short name.
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        host = socket.gethostname().partition(".")[0]
        controller_port, node_port = _free_ports(2)
        config = folder / "slurm.conf"
        config.write_text(_CONFIG.format_map(locals()))
        for sub in ("state", "spool"):
            (folder / sub).mkdir()
        key = folder / "munge.key"
        key.touch(0o400)
        key.write_bytes(os.urandom(128))
        stack.enter_context(_environment("SLURM_CONF", str(config)))
        _daemon(stack, folder, _munged(folder))
        _wait(folder, (folder / "munge.socket").exists, "munged opened no socket")
        _daemon(stack, folder, ["slurmctld", "-D", "-c", "-f", str(config)])
        _daemon(stack, folder, ["slurmd", "-D", "-c", "-f", str(config)])
        _wait(folder, lambda: _answer("sinfo", "--noheader", "--format=%T") == "idle", "the node did not come up")
        try:
            yield folder
        finally:
            _end_jobs()


def _skip_unless_possible() -> None:
    missing = [program for program in _PROGRAMS if shutil.which(program, path=_search_path()) is None]
    if missing:
        pytest.skip(f"no SLURM here, {', '.join(missing)} missing: tests/slurm/install.sh installs it")
    if os.geteuid() != 0:
        pytest.skip("a SLURM of one's own needs root")


def _search_path() -> str:
    """Return PATH with the places of daemons, which are not in everybody's."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def _munged(folder: Path) -> list[str]:
    names = {"socket": "munge.socket", "pid-file": "munged.pid", "log-file": "munged.log", "seed-file": "munged.seed"}
    paths = [f"--{option}={folder / name}" for option, name in names.items()]
    return ["munged", "--foreground", f"--key-file={folder / 'munge.key'}", *paths]


def _daemon(stack: contextlib.ExitStack, folder: Path, command: list[str]) -> None:
    program = shutil.which(command[0], path=_search_path())
    with (folder / f"{command[0]}.out").open("wb") as out:
        process = subprocess.Popen(
            [program or command[0], *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    stack.callback(_stop, process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _end_jobs() -> None:
    """End what still runs, so that no step outlives its node."""
    jobs = _answer("squeue", "--noheader", "--format=%A").split()
    if jobs:
        subprocess.run(["scancel", "--quiet", *jobs], capture_output=True, timeout=_STOP)
    deadline = time.monotonic() + _STOP
    while _answer("squeue", "--noheader", "--format=%A") and time.monotonic() < deadline:
        time.sleep(0.1)


def _answer(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=_STOP).stdout.strip()


def _wait(folder: Path, ready: Callable[[], bool], failure: str) -> None:
    deadline = time.monotonic() + _START
    while not ready():
        if time.monotonic() > deadline:
            logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in sorted(folder.glob("*.[lo][ou][gt]")))
            pytest.fail(f"{failure}\n{logs}")
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return [opened.getsockname()[1] for opened in sockets]


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
