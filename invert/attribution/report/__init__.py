"""What people look at of verdicts: rows, charts and pages."""

__all__: list[str] = []
