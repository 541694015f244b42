"""`invert completion` in a real shell."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, Invert

SCRIPT = """
{source}
complete -p invert >/dev/null || exit 3
COMP_WORDS=({words}) COMP_CWORD=$(({count} - 1)) COMPREPLY=()
compopt() {{ :; }}
_invert_completion {program}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completed(invert: Invert, tmp_path: Path, *words: str) -> list[str]:
    """Return what bash offers for the last of some words, the program left out."""
    program = tmp_path / "invert"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m invert "$@"\n')
    program.chmod(0o755)
    source = invert("completion", "bash").out
    quoted = " ".join(f"'{word}'" for word in ("invert", *words))
    script = SCRIPT.format(source=source, words=quoted, count=len(words) + 1, program=program)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes(invert: Invert, tmp_path: Path) -> None:
    assert completed(invert, tmp_path, "in") == ["info", "interpolate"]
    assert completed(invert, tmp_path, "project", "--noise-") == ["--noise-weight"]
    assert completed(invert, tmp_path, "generate", "--noise", "") == ["kept", "fixed", "random", "zero", "stream"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_asks_this_program(invert: Invert, shell: str) -> None:
    result = invert("completion", shell)
    assert (result.code, result.err) == (0, "")
    assert f"_INVERT_COMPLETE={shell}_complete" in result.out


def test_other_shells(invert: Invert) -> None:
    result = invert("completion", "csh")
    assert result.code == 2
    assert "'bash', 'zsh', 'fish'" in result.err
