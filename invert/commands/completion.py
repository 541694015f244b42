"""`invert completion`: let a shell complete commands, options and files."""

from typing import Final

import click
from click.shell_completion import get_completion_class

from invert.cli import options
from invert.cli.text import line
from invert.errors import InvertError

__all__ = ["COMPLETION_VARIABLE", "PROGRAM", "completion"]

PROGRAM: Final = "invert"
COMPLETION_VARIABLE: Final = "_INVERT_COMPLETE"
"""What the shell sets when it asks for completions."""


@options.command(
    short_help="Let a shell complete commands, options and files.",
    examples=(
        "invert completion bash > ~/.local/share/bash-completion/completions/invert",
        "invert completion fish > ~/.config/fish/completions/invert.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Write the lines that make SHELL complete this program's commands, options, their values and files.

    SHELL is bash (4.4 or newer), zsh or fish. For zsh, put  eval "$(invert completion zsh)"  into ~/.zshrc; that works
    in ~/.bashrc, too.
    """
    found = get_completion_class(shell)
    if found is None:
        raise InvertError(f"click {click.__version__} completes nothing in {shell}")
    for text in found(context.find_root().command, {}, PROGRAM, COMPLETION_VARIABLE).source().splitlines():
        line(text)
