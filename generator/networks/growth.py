"""What progressive growing asks of a network.

Reference: Karras et al. 2018, section 2 and figure 2.
"""

from collections.abc import Container

__all__ = ["check_growth"]


def check_growth(growing: bool, resolutions: Container[int], last: int, resolution: int, alpha: float) -> None:
    """Hold a resolution and a fade against what a network can do.

    Args:
        growing: Whether there are colour layers at every resolution.
        resolutions: All of them. last: The largest one.
        resolution: The one that is drawn or looked at.
        alpha: How far its layers have faded in.

    Raises:
        ValueError: They do not fit.
    """
    if resolution not in resolutions:
        raise ValueError(f"this network has no layers at {resolution} px")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha!r}, not in [0, 1]")
    if not growing and (resolution != last or alpha != 1):
        raise ValueError(f"this network has colour layers at {last} px only: its settings do not say 'growing'")
    if resolution == 4 and alpha != 1:
        raise ValueError(f"alpha is {alpha!r} at 4 px, where there is nothing to fade in from")
