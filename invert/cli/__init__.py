"""The command line: options, output, progress and the entry point."""

__all__: list[str] = []
