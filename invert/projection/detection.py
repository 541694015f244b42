"""What may have happened to an image: candidates for `--processing auto`, from cheap facts of its file and pixels.

The choice among them by likelihood is part of the method, and lies inside whatever is calibrated with it.
"""

import math

import numpy as np
import numpy.typing as npt

from invert.images.target import Target
from invert.projection.processing import ROUNDING
from invert.projection.processing_steps import standard_tables

__all__ = ["AUTO", "candidates", "sharpness"]

AUTO = "auto"

_KERNELS = ("resize", "resize-bicubic", "resize-bilinear", "resize-box")
_BY_HIGH_FREQUENCIES = (
    (0.12, ("blur:1", "resize:0.5", "none")),
    (0.7, ("resize:0.5", "resize:0.75", "blur:0.8", "resize:0.625", "none")),
    (5.0, ("resize:0.75", "blur:0.5", "crop:0.03", "resize:0.875", "none")),
    (math.inf, ("none", "blur:0.4", "crop:0.03", "shift:1", "shift:-1", "gamma:1", "gain:1", "rotate:0")),
)
"""What may have happened to a grey image whose highest frequencies have at most such a mean square, in squared levels:
the likeliest first, with the values where a search for them begins. That is for a network whose own images have 64, the
median of them; for another see `sharpness`."""

_USUAL = 64.0
_SHARPNESSES = (-12, 12)  # powers of two

_BEFORE_JPEG = ("", "crop:0.03+", "resize:0.75+", "crop:0.03+resize:0.75+", "resize:0.5+", "blur:0.7+")
"""What may have happened before a compression, whose own noise hides the image's highest frequencies."""

_QUALITIES = (30, 40, 50, 60, 70, 75, 80, 85, 90, 95)

_COMB = 0.8  # of the mean squared distance to multiples that numbers without a comb have
_NOISES = ((1.5, "noise:2"), (3.5, "noise:5"))
"""From which deviation in levels on a noise is a candidate; larger ones would explain any image."""


def sharpness(images: npt.NDArray[np.uint8]) -> float:
    """Return how much there is in the highest frequencies of a network's own images, beside the usual.

    Drawn faces of 64 px have a fortieth of what photographs of garments of 32 px have: by the same bounds all of them
    would look blurred. The nearest power of two, so that it hangs on neither a few samples nor the processor.

    Args:
        images: Some of them as they are, uint8 `[N, C, H, W]`.
    """
    of_all = [_high_frequencies(one[:3].astype(np.float64).mean(axis=0)) for one in images]
    least, most = _SHARPNESSES
    power = math.log2(max(float(np.median(of_all)), _USUAL * 2.0**least) / _USUAL)
    return 2.0 ** min(round(power), most)


def candidates(target: Target, sharpness: float = 1.0) -> list[str]:
    """Return what may have happened, as `--processing` has it, the likeliest first.

    Args:
        target: As the network sees it.
        sharpness: That of the network's own images.
    """
    side = target.array.shape[0]
    if target.upsampled:
        factor = min(target.original_size) / side
        return [f"{kernel}:{factor:.6g}" for kernel in _KERNELS]
    quality = _comb(target.array) if target.tables is None else None
    jpeg = "jpeg" if target.tables is not None else "" if quality is None else f"jpeg:{quality}"
    grey = target.array[..., :3].astype(np.float64).mean(axis=2)
    # rounding adds the same to all images, less to the mean of three channels than to a single one
    rounding = ROUNDING / min(3, target.array.shape[2])
    highest = rounding + (_high_frequencies(grey) - rounding) / sharpness
    found = list(next(kinds for most, kinds in _BY_HIGH_FREQUENCIES if highest <= most))
    if jpeg:
        # its tables are in a file that was compressed at the end; a comb may be there by chance
        found = [*(before + jpeg for before in _BEFORE_JPEG), *([] if target.tables is not None else found[:2])]
    deviation = _noise(grey) * math.sqrt(min(3, target.array.shape[2]))
    # behind what leaves traces of its own, which noise would explain as well
    found[1:1] = [kind for least, kind in reversed(_NOISES) if deviation >= least and not jpeg][:1]
    return found


def _high_frequencies(grey: npt.NDArray[np.float64]) -> float:
    """Return the mean square of the coefficients of an image `[H, W]` in the upper quarter of both directions."""
    spectrum = np.abs(np.fft.fft2(grey)) ** 2 / grey.size
    frequencies = np.abs(np.fft.fftfreq(len(grey)))
    rows = frequencies >= 0.375
    return float(spectrum[np.ix_(rows, rows)].mean())


def _noise(grey: npt.NDArray[np.float64]) -> float:
    """Return the deviation of independent noise in an image `[H, W]`, in levels (Immerkaer 1996)."""
    inner = grey[1:-1, 1:-1]
    cross = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    corners = grey[:-2, :-2] + grey[2:, 2:] + grey[:-2, 2:] + grey[2:, :-2]
    return float(np.median(np.abs(4 * inner - 2 * cross + corners))) / 0.6745 / 6


def _comb(array: npt.NDArray[np.uint8]) -> int | None:
    """Return the quality of a JPEG whose steps show in an image `[H, W, C]` that was decoded and saved again."""
    colours = array[..., :3].astype(np.float64)
    luminance = colours[..., 0] if colours.shape[2] < 3 else colours @ (0.299, 0.587, 0.114)
    side = len(luminance) // 8 * 8
    blocks = (luminance[:side, :side] - 128).reshape(side // 8, 8, side // 8, 8).transpose(0, 2, 1, 3).reshape(-1, 8, 8)
    k = np.arange(8)
    basis = np.cos(np.pi * (k + 0.5) * k[:, None] / 8) / 2
    basis[0] /= np.sqrt(2)
    coefficients = basis @ blocks @ basis.T
    best: tuple[float, int] | None = None
    for quality in _QUALITIES:
        steps = np.array(standard_tables(quality)[0], np.float64).reshape(8, 8)
        # what is rounded to zero tells nothing of the step, and steps of a level or two are lost in rounding
        told = (np.abs(coefficients) > steps / 2) & (steps >= 4)
        if told.sum() < len(blocks):
            continue
        steps_told = np.broadcast_to(steps, coefficients.shape)[told]
        remainder = coefficients[told] - steps_told * np.rint(coefficients[told] / steps_told)
        share = float(np.mean((remainder / steps_told) ** 2) * 12)
        if share < _COMB and (best is None or share < best[0]):
            best = share, quality
    return None if best is None else best[1]
