"""Measure generators as the papers do: one file a metric, one line in `invert.metrics.table`."""

__all__: list[str] = []
