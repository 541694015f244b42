"""The command that does the same again, accepted by a shell as it stands."""

import os
import shlex
from typing import Any

import click

__all__ = ["command_again"]

_UNSAID = (None, click.core.ParameterSource.DEFAULT, click.core.ParameterSource.DEFAULT_MAP)


def command_again(**settled: Any) -> str:
    """Return the running command with all that was given to it, by options or by environment variables.

    Args:
        settled: Values that the command chose or that have to be named to repeat it, by the names of its parameters.
    """
    context = click.get_current_context()
    given = {name: one for name, one in context.params.items() if context.get_parameter_source(name) not in _UNSAID}
    given |= settled
    options, arguments = ["invert", str(context.info_name)], []
    for parameter in context.command.params:
        value = given.get(str(parameter.name))
        if value is None or value is False or value == ():
            continue
        texts = [_text(one) for one in value] if isinstance(value, list | tuple) else [_text(value)]
        if isinstance(parameter, click.Argument):
            arguments += texts
        elif isinstance(parameter, click.Option) and parameter.is_flag:
            options.append(parameter.opts[0])
        else:
            for text in texts:
                options += [parameter.opts[0], text]
    end = ["--"] if any(text.startswith("-") for text in arguments) else []
    return shlex.join([*options, *end, *arguments])


def _text(value: Any) -> str:
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
