"""How torch's threads wait for each other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from generator import openmp

ROOT = Path(__file__).parent.parent

# What a program of this project, and a library's user, leave in the environment; and when torch came.
PROGRAM = """
import os, sys
from generator import openmp
seen = {}
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch" and not seen:
            seen.update({one: os.environ.get(one) for one in openmp.VARIABLES})
            raise ImportError("far enough")
sys.meta_path.insert(0, Watch())
"""


def run(code: str, **variables: str) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name not in openmp.VARIABLES} | variables
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


COMMAND = """
from invert.cli.main import main
main(["generate", "--network", "data/networks/A.safetensors", "--seeds", "0", "--out", "/nonexistent/x.png"])
print(seen["GOMP_SPINCOUNT"], seen["OMP_WAIT_POLICY"])
"""
LIBRARY = """
import invert
try:
    invert.load
except ImportError:
    pass
print(seen["GOMP_SPINCOUNT"])
print([name for name in openmp.VARIABLES if name in os.environ])
"""


def test_a_command_sets_it_before_torch_is_imported() -> None:
    assert run(COMMAND) == [f"{openmp.PATIENT['GOMP_SPINCOUNT']} None"]


@pytest.mark.parametrize("name", openmp.VARIABLES)
def test_what_the_user_set_stays(name: str) -> None:
    value = {"OMP_WAIT_POLICY": "active"}.get(name, "77")
    found = run(COMMAND, **{name: value})
    assert found == [{"GOMP_SPINCOUNT": "77 None", "OMP_WAIT_POLICY": "None active"}.get(name, "None None")]


def test_a_library_leaves_the_environment_as_it_was() -> None:
    assert run(LIBRARY) == [openmp.PATIENT["GOMP_SPINCOUNT"], "[]"]


def test_processes_that_are_started_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in openmp.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with openmp.patient_children():
        assert {name: os.environ.get(name) for name in openmp.PATIENT} == openmp.PATIENT
    assert not set(openmp.VARIABLES) & set(os.environ)
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    with openmp.patient_children():
        assert os.environ["GOMP_SPINCOUNT"] == "5"
    assert os.environ["GOMP_SPINCOUNT"] == "5"
