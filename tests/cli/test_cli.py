"""The group itself: help, exit codes, streams, signals, odd surroundings."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from generator.files import reading
from invert import __version__
from invert.cli.help import Option
from invert.cli.main import cli, main
from tests.cli.conftest import ROOT, Invert, Result

COMMANDS = sorted(cli.commands)


def test_version(invert: Invert) -> None:
    assert invert("--version") == Result(0, f"invert {__version__}\n", "")


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=str)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help(invert: Invert, command: list[str], flag: str) -> None:
    result = invert(*command, flag)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"Usage: {' '.join(['invert', *command])} ")


def test_help_names_every_command_and_exit_code(invert: Invert) -> None:
    text = invert("--help").out
    expected = (
        "attribute calibrate completion convert dataset demo directions doctor edit evaluate generate histograms info"
    )
    expected += " interpolate metrics mix noise"
    expected += " pack project render seed show train train-encoder train-report truncate verify"
    assert expected.split() == COMMANDS
    assert all(f"  {command} " in text for command in COMMANDS)
    assert all(f" {code} " in text for code in (0, 1, 2, 3, 4, 5, 6, 7, 8, 130, 143))


def test_every_option_of_project(invert: Invert) -> None:
    text = invert("project", "--help").out
    options = "network out steps preset lpips noise noise-weight seed restarts batch threads device class"
    assert [name for name in [*options.split(), "json", "quiet", "overwrite"] if f"--{name} " not in text] == []


def test_commands_are_listed_in_groups(invert: Invert) -> None:
    text = invert("--help").out
    headings = ["Projection", "Source attribution", "Images and figures", "Training", "Networks and installation"]
    places = [text.index(f"\n{heading}:\n") for heading in headings]
    assert places == sorted(places)
    assert places[0] < text.index("  project ") < places[1] < text.index("  attribute ") < places[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_two_examples_that_parse(invert: Invert, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    command = cli.commands[name]
    text = invert(name, "--help").out
    shown = text.partition("\nExamples:\n")[2].splitlines()
    assert len(shown) == 2
    for line in shown:
        program, called, *arguments = shlex.split(line.partition(" > ")[0])
        assert (program, called) == ("invert", name)
        context = click.Context(command)
        given, _, order = command.make_parser(context).parse_args(arguments)
        missing = [one.name for one in command.params if one.required and one not in order and not given.get(one.name)]
        assert missing == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name: str) -> None:
    for parameter in cli.commands[name].params:
        if isinstance(parameter, Option):
            text = str(parameter.help).partition("  [default")[0]
            assert len(text.split()) > 1, parameter.opts
            assert not text.startswith(("Of ", "Between ", "With which", "That ", "[")), parameter.opts
            assert text.endswith("."), parameter.opts
        else:
            assert isinstance(parameter, click.Argument)


def test_an_option_means_the_same_in_every_command() -> None:
    """What several commands take they share: the same values, the same words."""
    shared = (
        "--device",
        "--class",
        "--lpips",
        "--cutoff",
        "--follow",
        "--max-pixels",
        "--json",
        "--quiet",
        "--threads",
    )
    for name in shared:
        found = [option for command in cli.commands.values() for option in command.params if name in option.opts]
        assert len(found) > 1, name
        helps = {str(getattr(option, "help", "")).partition("  [default")[0] for option in found}
        assert len(helps) == 1, name
        assert len({str(option.type.to_info_dict()) for option in found}) == 1, name


def test_output_options_are_in_every_command() -> None:
    silent = {"completion"}  # what it writes is for a shell
    for name, command in cli.commands.items():
        opts = [set(option.opts) for option in command.params]
        assert name in silent or {"--json"} in opts, name
        assert name in silent or {"-q", "--quiet"} in opts, name
        assert all("-o" in one for one in opts if "--out" in one), name
        computes = {"--threads", "--device"} & set().union(*opts)
        assert len(computes) in ((1, 2) if name == "render" else (0, 2)), name


@pytest.mark.parametrize("name", ["project", "render", "evaluate", "train"])
def test_help_has_options_in_groups_and_names_the_environment(invert: Invert, name: str) -> None:
    text = invert(name, "--help").out
    order = ["\nOptions:\n", "\nComputation:\n", "\nOutput:\n", "\nEnvironment variables:\n", "\nExamples:\n"]
    places = [text.index(heading) for heading in order]
    assert places == sorted(places)
    assert "INVERT_DEVICE" in text[places[3] :]
    assert ("INVERT_STEPS" in text) == (name == "project")


def test_a_setting_from_the_environment(
    invert: Invert, image: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVERT_STEPS", "many")
    result = invert("project", image(), "--out", tmp_path / "out")
    assert result.code == 2
    assert "'INVERT_STEPS': 'many' is not a valid integer" in result.err


def test_no_arguments_show_the_help(invert: Invert) -> None:
    result = invert()
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("Usage: invert ")


@pytest.mark.parametrize("arguments", [["nonsense"], ["--nonsense"], ["info"], ["project"], ["info", "a\x1b[2J\nb"]])
def test_usage_errors_are_one_line(invert: Invert, arguments: list[str]) -> None:
    result = invert(*arguments)
    assert (result.code, result.out) == (2, "")
    (line,) = result.err.splitlines()
    assert line.startswith("invert: error: ")
    assert line.isprintable()
    assert line.endswith(" --help'.")


def test_a_bug_is_one_line_unless_debugging(invert: Invert, network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_path: object) -> None:
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr("generator.files.reading.inspect", broken)
    result = invert("info", network)
    assert result.code == 1
    (line,) = result.err.splitlines()
    assert line.startswith(f"invert: error: a bug in invert {__version__}: ZeroDivisionError: a\\nb.")
    assert "report" in line
    for where in (("--debug", "info", network), ("info", "--debug", network), ("info", network, "--debug")):
        result = invert(*where)
        assert result.code == 1
        assert "Traceback" in result.err
        assert result.err.splitlines()[-1] == line


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 1, "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 1, "not enough memory"),
    ],
    ids=["interrupt", "memory", "torch memory"],
)
def test_other_endings(
    invert: Invert, network: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, message: str
) -> None:
    def raising(_path: object) -> None:
        raise error

    monkeypatch.setattr("generator.files.reading.inspect", raising)
    result = invert("info", network)
    assert result.code == code
    assert f"invert: error: {message}" in result.err
    assert "bug" not in result.err


def raising(monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    """Let a signal come while a network file is read."""
    real = reading.inspect

    def disturbed(path: Path) -> object:
        signal.raise_signal(number)
        return real(path)

    monkeypatch.setattr(reading, "inspect", disturbed)


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it(
    invert: Invert, network: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    raising(monkeypatch, number)
    result = invert("info", network)
    assert result.code == 128 + number
    assert result.out == ""
    assert "kept" not in result.err  # there was nothing to keep
    assert signal.getsignal(number) is before


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_is_ignored_stays_ignored(
    invert: Invert, network: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """`nohup invert` goes on after the hang-up."""
    signal.signal(number, signal.SIG_IGN)
    raising(monkeypatch, number)
    result = invert("info", network)
    assert (result.code, result.err) == (0, "")
    assert signal.getsignal(number) is signal.SIG_IGN


def test_the_process_ends_with_the_code(in_a_process: Callable[..., Result]) -> None:
    assert in_a_process("--version").code == 0
    assert in_a_process("nonsense").code == 2


@pytest.mark.parametrize(
    "variables",
    [
        {"COLUMNS": "1"},
        {"HOME": None},
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"TERM": None},
    ],
    ids=lambda variables: "-".join(variables),
)
def test_odd_surroundings(
    in_a_process: Callable[..., Result], network: Path, tmp_path: Path, variables: dict[str, str | None]
) -> None:
    copy = tmp_path / "nétwörk.pkl"
    copy.write_bytes(network.read_bytes())
    result = in_a_process("info", copy, **variables)
    assert (result.code, result.err) == (0, "")
    assert in_a_process("project", "--help", **variables).code == 0
    result = in_a_process("info", tmp_path / "né.pkl", **variables)
    assert result.code == 2
    assert "Traceback" not in result.err


def shell(command: str, network: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "INVERT": f"{sys.executable} -m invert", "NETWORK": str(network)}
    return subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def test_closed_streams(network: Path) -> None:
    done = shell("$INVERT info $NETWORK >&-", network)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = shell("$INVERT info /nonexistent 2>&-", network)
    assert (done.returncode, done.stdout) == (2, "")
    done = shell("$INVERT info $NETWORK >&- 2>&- <&-", network)
    assert done.returncode == 0


def test_reader_that_has_gone(network: Path) -> None:
    # `:` ends at once; the sleep lets it.
    done = shell("{ sleep 0.2; $INVERT info $NETWORK; echo $? >&2; } | :", network)
    assert done.stderr == "141\n"


def test_full_device(network: Path) -> None:
    done = shell("$INVERT info $NETWORK > /dev/full", network)
    assert done.returncode == 6
    (line,) = done.stderr.splitlines()
    assert line.startswith("invert: error: No space left on device")


def test_main_without_arguments_takes_those_of_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["invert", "--version"])
    assert main() == 0
    assert capsys.readouterr().out == f"invert {__version__}\n"


@pytest.mark.parametrize("place", ["pipe", "/dev/zero", "huge"])
def test_what_is_no_file_is_refused_at_once(invert: Invert, network: Path, tmp_path: Path, place: str) -> None:
    """A pipe keeps who opens it waiting, a device has no end, a file of 8 TB fills the memory: each in each place."""
    path = tmp_path / place
    if place == "pipe":
        os.mkfifo(path)
    elif place == "huge":
        with open(path, "wb") as file:
            file.truncate(8 << 40)
    run, out = tmp_path / "run", tmp_path / "x.png"
    run.mkdir()
    (run / "settings.json").symlink_to(path)
    for arguments in (
        ("info", path),
        ("convert", path, tmp_path / "x.safetensors"),
        ("generate", "--network", path, "--seeds", 1, "--out", tmp_path / "g"),
        ("project", path, "--network", network, "--steps", 1),
        ("attribute", "--network", network, out, "--calibration", path),
        ("histograms", path, "-o", out),
        ("interpolate", "--network", network, "--keys", f"{path},1", "-o", out),
        ("show", path),
        ("verify", path),
        ("dataset", path, tmp_path / "x.zip"),
        ("train", "--data", path, "--out", tmp_path / "t"),
        ("train-report", run),
    ):
        started = time.monotonic()
        result = invert(*arguments)
        assert result.code in (2, 4, 5), arguments
        assert "a bug in invert" not in result.err
        assert time.monotonic() - started < 60, arguments
    assert not out.exists()
