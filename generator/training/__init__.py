"""Training: settings, presets, losses, growth, the step and its state."""

__all__: list[str] = []
