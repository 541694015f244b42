"""From projections to verdicts: evidence, scores, calibration, attribution."""

__all__: list[str] = []
