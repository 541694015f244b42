"""The walk of docs/python.md, run from top to bottom in one namespace, as a notebook would."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.documents import ROOT, blocks, difference

WALK = ROOT / "docs" / "python.md"


def run_walk(document: Path) -> list[str]:
    """Run the python blocks of a document and return what is wrong with them."""
    problems: list[str] = []
    namespace: dict[str, object] = {"__name__": "walk"}
    found = blocks(document)
    for block, after in zip(found, [*found[1:], None], strict=True):
        if block.language != "python":
            continue
        printed = io.StringIO()
        # Lines are those of the document, so that a traceback leads there.
        source = "\n" * (block.line - 1) + "\n".join(block.lines)
        with contextlib.redirect_stdout(printed):
            exec(compile(source, os.fspath(document), "exec"), namespace)
        if after is not None and after.language == "text":
            differs = difference(after.lines, printed.getvalue(), any_numbers="any numbers" in after.marks)
            if differs:
                problems.append(f"{after.place}: {differs}")
    return problems


@pytest.mark.timeout(240)
@pytest.mark.parametrize("document", [ROOT / "README.md", WALK], ids=lambda path: path.name)
def test_python_runs_from_top_to_bottom(document: Path, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "data").symlink_to(ROOT / "data")
    program = (
        "import sys; from pathlib import Path; from tests.docs.test_python import run_walk\n"
        "sys.exit('\\n'.join(run_walk(Path(sys.argv[1]))) or 0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "INVERT_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", program, os.fspath(document)]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=220)
    assert done.returncode == 0, done.stderr


def test_every_block_of_the_walk_compiles() -> None:
    found = [block for block in blocks(WALK) if block.language == "python"]
    assert len(found) > 8
    for block in found:
        compile("\n".join(block.lines), block.place, "exec")


def test_the_front_door_is_light() -> None:
    program = "import sys, invert; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60).returncode == 0
