"""The kernel distance between features of images; with Inception's it is KID.

Reference: Binkowski et al. 2018, section 4.
"""

from invert.metrics.features import features_of, fidelity
from invert.metrics.request import Request
from invert.metrics.result import Measured
from invert.metrics.sampling import compared_features, sampling_protocol

__all__ = ["measure"]

_SUBSETS, _SUBSET_SIZE = 100, 1000


def measure(request: Request) -> Measured:
    """Measure the unbiased squared maximum mean discrepancy with a cubic kernel; it may be negative.

    Raises:
        InvertError: It cannot be measured of these.
    """
    own, others = compared_features(request, "kid")
    library = fidelity("metric_kid")
    drawn = {"kid_subsets": _SUBSETS, "kid_subset_size": min(_SUBSET_SIZE, len(own), len(others))}
    found = library.kid_features_to_metric(own, others, **drawn, rng_seed=request.settings.seed, verbose=False)
    values = {
        "distance": float(found[library.KEY_METRIC_KID_MEAN]),
        "deviation": float(found[library.KEY_METRIC_KID_STD]),  # over the subsets: no confidence in the network
    }
    protocol = {**sampling_protocol(request), **features_of(request).protocol("kid"), **drawn}
    protocol["seed"] = request.settings.seed
    return Measured(request.subject.path, request.chosen.name, "distance", values, request.protocol(protocol))
