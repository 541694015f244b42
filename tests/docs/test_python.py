"""The walk of docs/python.md, run from top to bottom in one namespace, as a notebook would."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.documents import ROOT, Block, blocks, difference

README, WALK = ROOT / "README.md", ROOT / "docs" / "python.md"


def run_walk(document: Path, *, with_slow: bool) -> list[str]:
    """Run the python blocks of a document, and return where they print something else than is shown below them."""
    problems: list[str] = []
    namespace: dict[str, object] = {"__name__": "walk"}
    found = blocks(document)
    for block, after in zip(found, [*found[1:], None], strict=True):
        if block.language != "python" or not block.can_run or ("slow" in block.marks and not with_slow):
            continue
        printed = io.StringIO()
        # Lines are those of the document, so that a traceback leads there.
        source = "\n" * (block.line - 1) + "\n".join(block.lines)
        with contextlib.redirect_stdout(printed):
            exec(compile(source, os.fspath(document), "exec"), namespace)
        shown = after.lines if after is not None and after.language == "text" else ()
        differs = difference(shown, printed.getvalue())
        if differs:
            problems.append(f"{block.place}: {differs}")
    return problems


def run(document: Path, folder: Path, *, with_slow: bool) -> None:
    """Run a walk in a process of its own, in a folder that has the checkout's data."""
    checkout = folder / "checkout"
    checkout.mkdir()
    (checkout / "data").symlink_to(ROOT / "data")
    program = (
        "import sys; from pathlib import Path; from tests.docs.test_python import run_walk\n"
        f"sys.exit('\\n'.join(run_walk(Path(sys.argv[1]), with_slow={with_slow})) or 0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "INVERT_CACHE": str(folder / "cache")}
    command = [sys.executable, "-c", program, os.fspath(document)]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr


def python_blocks(document: Path) -> list[Block]:
    return [block for block in blocks(document) if block.language == "python"]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("document", [README, WALK], ids=lambda path: path.name)
def test_python_runs_from_top_to_bottom(document: Path, tmp_path: Path) -> None:
    run(document, tmp_path, with_slow=False)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_all_of_the_walk_runs_from_top_to_bottom(tmp_path: Path) -> None:
    assert any("slow" in block.marks for block in python_blocks(WALK))
    run(WALK, tmp_path, with_slow=True)


def test_every_block_of_the_walk_compiles() -> None:
    found = python_blocks(WALK)
    assert len(found) > 8
    for block in found:
        compile("\n".join(block.lines), block.place, "exec")


def test_a_walk_that_prints_something_else_is_found(tmp_path: Path) -> None:
    def problems(text: str) -> list[str]:
        document = tmp_path / "walk.md"
        document.write_text(text)
        return run_walk(document, with_slow=False)

    shown = "```python\nprint(1 + 1)\n```\n\n```text\n{}\n```\n"
    assert problems(shown.format(2)) == []
    assert len(problems(shown.format(3))) == 1
    assert len(problems("```python\nprint(2)\n```\n")) == 1  # what is printed is shown
    assert problems("<!-- slow -->\n" + shown.format(3)) == []


def test_the_front_door_is_light() -> None:
    program = "import sys, invert; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60).returncode == 0
