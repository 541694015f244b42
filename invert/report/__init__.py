"""What all reports share: the page, its style, curves and histograms."""

__all__: list[str] = []
