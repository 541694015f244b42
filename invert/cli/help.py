"""How `--help` is laid out: options under headings, examples, environment variables, commands in groups."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

__all__ = ["OUTPUT", "Command", "Group", "Option"]

OUTPUT = "Output"
"""Heading of the options that say what is written to the terminal, and of --help."""


_MEANT = {
    "--target": "The image is named by itself: invert project IMAGE --network FILE",
    "--image": "The image is named by itself: invert project IMAGE --network FILE",
    "--outdir": "The output is named with --out",
    "--num-steps": "It is --steps of invert project",
    "--noise-mode": "It is --noise",
    "--model": "The network is named with --network",
    "--ckpt": "The network is named with --network",
    "--checkpoint": "The network is named with --network",
    "--pkl": "The network is named with --network",
    "--gpus": "The device is named with --device",
}
"""What options of other programs are called in this one."""


class Option(click.Option):
    """An option that `--help` lists under a heading.

    Args:
        group: The heading; an option without one is among the first.
    """

    def __init__(self, *args: Any, group: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """Name the environment variable in an error about a value that came from there."""
        from_environment = (
            ctx is not None
            and self.name is not None
            and ctx.get_parameter_source(self.name) is click.core.ParameterSource.ENVIRONMENT
        )
        return f"'{self.envvar}'" if from_environment else super().get_error_hint(ctx)


_DEBUG = Option(["--debug"], is_flag=True, expose_value=False, help="Show a traceback with every error.", group=OUTPUT)


class Command(click.Command):
    """A command whose `--help` has options under headings and ends with examples.

    Args:
        examples: Command lines as a user types them.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments, and say of an option that other programs have what it is called here."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            hint = _MEANT.get(error.option_name.replace("_", "-"))
            if hint is None:
                raise
            raise click.UsageError(f"No such option: {error.option_name}. {hint}", ctx) from error

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters, with --debug, which `invert.cli.main` looks for anywhere on the line."""
        found = super().get_params(ctx)
        return [*found[:-1], _DEBUG, *found[-1:]]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings, in the order in which these first occur; those on output are last."""
        groups: dict[str, list[tuple[str, str]]] = {"": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                groups.setdefault(getattr(parameter, "group", OUTPUT), []).append(record)
        for heading in sorted(groups, key=OUTPUT.__eq__):
            if groups[heading]:
                with formatter.section(heading or "Options"):
                    formatter.write_dl(groups[heading])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write which environment variables are read, and the examples."""
        variables = [one.envvar for one in self.get_params(ctx) if isinstance(one.envvar, str)]
        if variables:
            with formatter.section("Environment variables"):
                text = "An option that is not given takes its value from its variable, where that is set: "
                formatter.write_text(f"{text}{', '.join(variables)}.")
        _write_examples(self.examples, formatter)
        super().format_epilog(ctx, formatter)


def _write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    if examples:
        with formatter.section("Examples"):
            # Not as paragraphs: a command line is never wrapped.
            for example in examples:
                formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


class Group(click.Group):
    """A group whose `--help` lists its commands under headings.

    Args:
        sections: The headings with the commands under them.
        examples: Command lines as a user types them.
    """

    def __init__(
        self,
        *args: Any,
        sections: Mapping[str, Sequence[click.Command]],
        examples: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self._sections = sections
        for commands in sections.values():
            for command in commands:
                self.add_command(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands under their headings."""
        width = max(map(len, self.commands))
        for heading, commands in self._sections.items():
            with formatter.section(heading):
                formatter.write_dl([(f"{command.name:<{width}}", command.short_help or "") for command in commands])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        _write_examples(self.examples, formatter)
        super().format_epilog(ctx, formatter)
