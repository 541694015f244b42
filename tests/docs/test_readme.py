"""What the documents say is so: their commands run and print what is shown; what they name exists."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from invert.cli.main import cli
from tests.docs.documents import DOCUMENTS, ROOT, Block, Command, blocks, commands, difference, mentions

SESSIONS = {path: [block for block in blocks(path) if block.is_session] for path in DOCUMENTS}
WITH_SESSIONS = [path for path in DOCUMENTS if SESSIONS[path]]

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_OPTION = re.compile(r"(?<![\w-])(--?[a-z][a-z-]*)")
_PATH = re.compile(r"(?:bench|csrc|data|docs|generator|invert|tests|\.ci)/[\w./-]*[\w/]")

Shell = Callable[[Command], subprocess.CompletedProcess[str]]


def name(path: Path) -> str:
    return path.name


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that the documents share, so that the samples of a network are generated once."""
    folder = tmp_path_factory.mktemp("cache") / "invert"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def shell(tmp_path: Path, cache: Path) -> Shell:
    """Run a command of a document in a copy of the checkout, as a shell does."""
    programs, checkout = tmp_path / "bin", tmp_path / "checkout"
    programs.mkdir()
    for program, arguments in {"invert": "-m invert", "python": ""}.items():
        script = programs / program
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments} "$@"\n')
        script.chmod(0o755)
    shutil.copytree(ROOT / "data", checkout / "data")
    shutil.copytree(ROOT / "tests" / "golden", checkout / "tests" / "golden")
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": str(ROOT),
        "INVERT_CACHE": str(cache),
    }

    def run(command: Command) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", command.text],
            cwd=checkout,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=1200,
        )

    return run


def run_sessions(found: list[Block], shell: Shell) -> None:
    """Run commands one after the other, and tell of all that print something else."""
    problems = []
    for block in found:
        for command in commands(block):
            done = shell(command)
            if done.returncode:
                problems.append(f"{command.place}: it ended with {done.returncode}: {done.stderr.strip()[-500:]}")
                continue
            differs = difference(command.expected, done.stdout, any_numbers="any numbers" in block.marks)
            if differs:
                problems.append(f"{command.place}: {differs}")
    assert not problems, "\n".join(problems)


# What a newcomer types is run each time; the manual with the long tests.
_EACH_TIME = [
    pytest.param(path, marks=pytest.mark.slow if path.name == "README.md" else pytest.mark.long)
    for path in WITH_SESSIONS
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", _EACH_TIME, ids=name)
def test_quick_commands_print_what_is_shown(path: Path, shell: Shell) -> None:
    run_sessions([block for block in SESSIONS[path] if block.can_run and not block.marks & {"slow", "hours"}], shell)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("path", WITH_SESSIONS, ids=name)
def test_all_commands_print_what_is_shown(path: Path, shell: Shell) -> None:
    found = [block for block in SESSIONS[path] if "hours" not in block.marks]
    here = [block for block in found if block.can_run]
    if not any("slow" in block.marks for block in here):
        pytest.skip("it has no slow command that can run here; the quick ones are tested by themselves")
    run_sessions(here, shell)


def command_line(text: str) -> tuple[click.Command, list[str]] | None:
    """Return the command of `invert` that a line calls, and the options that it is given; None where it calls none."""
    match = re.search(r"(?:^|[\s;$])invert(?!\S)((?:\s+--?[a-z-]+)*)(?:\s+([a-z][a-z-]*))?(.*)", text)
    if match is None or "import invert" in text:
        return None
    command: click.Command = cli
    if match[2] is not None:
        if match[2] not in cli.commands:
            return None
        command = cli.commands[match[2]]
    arguments = re.split(r"[|;]\s", match[3])[0]
    return command, _OPTION.findall(f"{match[1]} {arguments}")


def options_of(command: click.Command) -> set[str]:
    found = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return found | {"-h", "--help"}


def called(path: Path) -> list[tuple[str, click.Command, list[str]]]:
    pairs = ((place, command_line(text)) for place, text in mentions(path))
    return [(place, *found) for place, found in pairs if found is not None]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_options_of_named_commands_exist(path: Path) -> None:
    wrong = [
        f"{place}: invert {command.name} has no {option}"
        for place, command, options in called(path)
        for option in options
        if option not in options_of(command)
    ]
    assert not wrong, "\n".join(wrong)


def test_options_are_found_at_all() -> None:
    readme = {(command.name, option) for _, command, options in called(ROOT / "README.md") for option in options}
    assert {("project", "--out"), ("calibrate", "--other"), ("train", "--config"), ("attribute", "-q")} <= readme


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_options_that_stand_alone_exist_somewhere(path: Path) -> None:
    # A table of options names them without their command.
    everywhere = set().union(*map(options_of, [cli, *cli.commands.values()]))
    wrong = [
        f"{place}: no command has {option}"
        for place, text in mentions(path)
        if text.startswith("--")
        for option in _OPTION.findall(text)
        if option not in everywhere
    ]
    assert not wrong, "\n".join(wrong)


def test_every_command_is_in_the_documents() -> None:
    told = {command.name for path in DOCUMENTS for _, command, _ in called(path)}
    assert set(cli.commands) <= told


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as the web pages of repositories make them."""
    text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", [*DOCUMENTS, ROOT / "data" / "README.md", ROOT / "csrc" / "README.md"], ids=str)
def test_links_lead_somewhere(path: Path) -> None:
    wrong = []
    for link in _LINK.findall(path.read_text("utf-8")):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists():
            wrong.append(f"{link}: there is no such file")
        elif anchor and anchor not in anchors(target):
            wrong.append(f"{link}: it has no such heading")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_named_files_exist(path: Path) -> None:
    wrong = [
        f"{place}: there is no {named}"
        for place, text in mentions(path)
        if " " not in text and "*" not in text and _PATH.fullmatch(text)
        for named in [text]
        if not (ROOT / named).exists()
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_named_targets_and_modules_exist(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.M))
    wrong = []
    for place, text in mentions(path):
        for words in re.findall(r"(?:^|\s)make((?: -\w+)*(?: [a-z][a-z-]*)+)", text):
            target = next(word for word in words.split() if not word.startswith("-"))
            if target not in targets:
                wrong.append(f"{place}: there is no make {target}")
        for module in re.findall(r"python3? -m ((?:bench|invert|generator)[\w.]*)", text):
            file = ROOT / module.replace(".", "/")
            if not (file.is_dir() or file.with_suffix(".py").exists()):
                wrong.append(f"{place}: there is no module {module}")
    assert not wrong, "\n".join(wrong)


def test_readme_has_at_most_1200_words() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").split()) <= 1200


def test_sessions_are_compared_as_said() -> None:
    shown = ["loss 0.100 in 3 s", "...", "done: 4 images, sha256 ..."]
    assert difference(shown, "loss 0.104 in 9 s\n\nanything\ndone: 4 images, sha256 abc\n") is None
    assert difference(shown, "loss 0.104 in 9 s\ndone: 4 images, sha256\n") is None
    assert difference(shown, "loss 0.108 in 9 s\ndone: 4 images, sha256 abc\n") is not None
    assert difference(shown, "loss 0.100 in 3 s\ndone: 5 images, sha256 abc\n") is not None
    assert difference(shown, "loss 0.100 in 3 s\ndone: 4 images, sha256 abc\nmore\n") is not None
    assert difference(["4 of 5"], "3 of 6\n", any_numbers=True) is None
    assert difference(["4 of 5"], "4 of five\n", any_numbers=True) is not None
