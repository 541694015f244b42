"""One-line messages on stderr."""

import contextlib

import click

__all__ = ["message"]


def _one_line(text: str) -> str:
    """Escape what could move the cursor or forge a second line, whatever a library put into its message."""
    return "".join(c if c.isprintable() else ("\\n" if c == "\n" else f"\\u{ord(c):04x}") for c in text.strip())


def message(kind: str, text: str) -> None:
    """Write one line, `invert: <kind>: <text>`, to stderr."""
    # A closed stderr must not turn a message into a second error.
    with contextlib.suppress(OSError):
        click.echo(f"invert: {kind}: {_one_line(text)}", err=True)
