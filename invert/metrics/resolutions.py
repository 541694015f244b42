"""How much each resolution adds to the images of a skip generator.

Reference: Karras et al. 2020, section 4.1 and figure 8.
"""

from generator.training.resolution_shares import SAMPLES, resolution_shares
from invert.errors import UsageError
from invert.metrics.request import Request
from invert.metrics.result import Measured

__all__ = ["measure"]


def measure(request: Request) -> Measured:
    """Measure the share of each resolution's tRGB in the sum of their deviations.

    Raises:
        UsageError: The network has not one tRGB for each resolution.
    """
    samples = request.settings.samples or SAMPLES
    generator = request.generator
    shares = resolution_shares(generator, samples, request.settings.seed)
    if shares is None:
        architecture = getattr(generator.synthesis.config, "architecture", "stylegan")
        reason = f"is a {architecture} generator, which has no tRGB at each resolution that could be compared"
        raise UsageError(reason, path=request.subject.path, advice="It is measured of skip generators.")
    request.on_progress(request.chosen.name, samples, samples)
    values = {f"{resolution} px": share for resolution, share in shares.items()}
    highest = f"{max(shares)} px"
    protocol = {"samples": samples, "psi": 1.0, "noise": "random", "seed": request.settings.seed}
    protocol |= {"of": "what each tRGB gives at its own resolution, bias included, each channel's mean taken off"}
    return Measured(request.subject.path, request.chosen.name, highest, values, request.protocol(protocol))
