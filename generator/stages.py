"""What progressive growing asks of a network.

Reference: Karras et al. 2018, section 2 and figure 2.
"""

from generator.config import DiscriminatorSettings, SynthesisSettings

__all__ = ["check_growth"]


def check_growth(config: SynthesisSettings | DiscriminatorSettings, resolution: int, alpha: float | None) -> float:
    """Hold a resolution and a fade against what a network can do, and return alpha.

    Args:
        config: Of the network.
        resolution: The one that is drawn or looked at.
        alpha: How far its layers have faded in; None: as the settings say of the last resolution, 1 of the others.

    Raises:
        ValueError: They do not fit.
    """
    last = config.img_resolution
    if alpha is None:
        alpha = getattr(config, "alpha", 1.0) if resolution == last else 1.0
    if resolution not in config.widths:
        raise ValueError(f"this network has no layers at {resolution} px")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha!r}, not in [0, 1]")
    if not config.growing and (resolution != last or alpha != 1):
        raise ValueError(f"this network has colour layers at {last} px only: its settings do not say 'growing'")
    if resolution == 4 and alpha != 1:
        raise ValueError(f"alpha is {alpha!r} at 4 px, where there is nothing to fade in from")
    return alpha
