"""The Frechet distance between features of images; with Inception's it is FID.

References: Heusel et al. 2017 (FID); Dowson and Landau 1982.
"""

from invert.metrics.features import features_of, fidelity
from invert.metrics.request import Request
from invert.metrics.result import Measured
from invert.metrics.sampling import compared_features, sampling_protocol

__all__ = ["ENOUGH", "measure"]

ENOUGH = 10_000
"""With fewer images the distance is larger than it would be with many, by how much depends on the network."""


def measure(request: Request) -> Measured:
    """Measure the distance between Gaussians that are fitted to the features of both sides.

    Raises:
        InvertError: It cannot be measured of these.
    """
    own, others = compared_features(request, "fid")
    fewest = min(len(own), len(others))
    if fewest < ENOUGH:
        request.on_warning(
            f"{request.chosen.name} of {fewest} images is too large, and depends on their number: "
            f"compare it with none of another number; {ENOUGH} or more are usual"
        )
    library = fidelity("metric_fid")
    statistics = [library.fid_features_to_statistics(values) for values in (own, others)]
    found = library.fid_statistics_to_metric(*statistics, verbose=False)
    protocol = {**sampling_protocol(request), **features_of(request).protocol("fid")}
    values = {"distance": float(found[library.KEY_METRIC_FID])}
    return Measured(request.subject.path, request.chosen.name, "distance", values, request.protocol(protocol))
