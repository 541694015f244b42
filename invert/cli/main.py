"""The command line: the group of commands, and the one place that turns errors into a line and an exit code."""

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

import click
from click.shell_completion import shell_complete

from generator.errors import GeneratorError
from generator.openmp import be_patient
from invert import __version__
from invert.cli.help import Group
from invert.cli.output import guard_streams
from invert.cli.text import line, message
from invert.commands.attribute import attribute
from invert.commands.calibrate import calibrate
from invert.commands.completion import COMPLETION_VARIABLE, PROGRAM, completion
from invert.commands.convert import convert
from invert.commands.dataset import dataset
from invert.commands.demo import demo
from invert.commands.directions import directions
from invert.commands.doctor import doctor
from invert.commands.edit import edit
from invert.commands.evaluate import evaluate
from invert.commands.generate import generate
from invert.commands.histograms import histograms
from invert.commands.info import info
from invert.commands.interpolate import interpolate
from invert.commands.metrics import metrics
from invert.commands.mix import mix
from invert.commands.noise import noise
from invert.commands.pack import pack
from invert.commands.project import project
from invert.commands.render import render
from invert.commands.seed import seed
from invert.commands.show import show
from invert.commands.train import train
from invert.commands.train_encoder import train_encoder
from invert.commands.train_report import train_report
from invert.commands.truncate import truncate
from invert.commands.verify import verify
from invert.errors import ExitCode, InvertError, is_out_of_memory

__all__ = ["cli", "main"]

# What a shell shows for a program that a closed pipe ended.
CLOSED_PIPE = 141


class _Terminated(KeyboardInterrupt):
    """A signal asked the process to end; commands treat it like Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


_SECTIONS = {
    "Projection": (project, show, render, verify, pack),
    "Source attribution": (attribute, seed, calibrate, evaluate, histograms),
    "Images and figures": (generate, directions, edit, mix, truncate, noise, interpolate),
    "Training": (dataset, train, train_encoder, train_report, metrics),
    "Networks and installation": (info, convert, doctor, demo, completion),
}

_EXAMPLES = (
    "invert demo",
    "invert project photo.png --network ffhq.pkl",
    "invert attribute photos/ --network ffhq.pkl --report verdicts.html",
    "invert generate --network ffhq.pkl --seeds 0-15 --out samples",
)


# --max_pixels is --max-pixels.
_CONTEXT = {"help_option_names": ["-h", "--help"], "token_normalize_func": lambda token: token.replace("_", "-")}


@click.group(cls=Group, sections=_SECTIONS, examples=_EXAMPLES, context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="invert", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show a traceback with every error.")
def cli(debug: bool) -> None:
    """Find the latents from which a StyleGAN network synthesises given images, and say where images come from.

    'invert COMMAND --help' explains a command, with examples.

    \b
    Exit codes: 0 all done, 1 a bug, 2 usage, 3 finished but some inputs failed,
    4 network refused, 5 nothing usable in the input, 6 output not written,
    7 output in use, 8 numbers not finite, 130 and 143 interrupted.
    """


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments after the program's name; those of the process when None.

    Returns:
        The exit code, one of `invert.errors.ExitCode`.
    """
    guard_streams()
    be_patient()
    arguments = sys.argv[1:] if argv is None else list(argv)
    if argv is None and (asked := os.environ.get(COMPLETION_VARIABLE)):
        return shell_complete(cli, {}, PROGRAM, COMPLETION_VARIABLE, asked)
    # --debug: anywhere on the line, also before a usage error: everybody adds it at the end.
    settings: dict[str, Any] = {"debug": "--debug" in arguments, "kept": ""}
    try:
        with _signals_as_exceptions():
            # Not `cli.main`: it ends some errors by itself, with exit codes that mean something else here.
            with cli.make_context(PROGRAM, arguments, obj=settings) as context:
                status = cli.invoke(context)
            sys.stdout.flush()
        return int(status or ExitCode.OK)
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except BaseException as error:
        return _report(error, settings)


def _report(error: BaseException, settings: Mapping[str, Any]) -> int:
    """Write the one line of an error and return its exit code."""
    if isinstance(error, BrokenPipeError):
        # The reader of stdout has gone: nothing left to say, and nothing may be written at exit either.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    if settings["debug"]:
        for part in "".join(traceback.format_exception(error)).splitlines():
            line(part, err=True)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        for part in error.format_message().splitlines():
            line(part, err=True)
        return ExitCode.USAGE
    code, text = _describe(error)
    if isinstance(error, KeyboardInterrupt) and settings["kept"]:
        text = f"{text} {settings['kept']}"
    message("error", text)
    return code


def _describe(error: BaseException) -> tuple[int, str]:
    if isinstance(error, _Terminated):
        return error.exit_code, "asked to stop."
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.SIGINT, "interrupted."
    if isinstance(error, InvertError):
        return error.exit_code, str(error)
    if isinstance(error, GeneratorError):
        return ExitCode.NETWORK, f"network: {error}"
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx is not None else "invert"
        return ExitCode.USAGE, f"{error.format_message().rstrip('.')}. Try '{command} --help'."
    if isinstance(error, click.ClickException):
        return ExitCode.USAGE, error.format_message()
    if is_out_of_memory(error):
        reason = "not enough memory, or a limit on it (ulimit -v) is too small"
        return ExitCode.INTERNAL, f"{reason}. Try a smaller --batch, fewer --workers, or --threads 1."
    if isinstance(error, OSError):
        return ExitCode.OUTPUT, f"{error.strerror or error}, while reading or writing {error.filename or 'a stream'}"
    reason = f"{type(error).__name__}: {error}"
    return ExitCode.INTERNAL, f"a bug in invert {__version__}: {reason}. Please report it with the output of --debug."


@contextlib.contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the stack like Ctrl-C, so that what is finished is kept and told."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise _Terminated(number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {}
    # Only the main thread may; a signal that the caller ignores (nohup) stays ignored.
    if threading.current_thread() is threading.main_thread():
        before = {n: signal.signal(n, stop) for n in numbers if signal.getsignal(n) is signal.SIG_DFL}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
