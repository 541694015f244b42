"""The Inception score.

Reference: Salimans et al. 2016, section 4.
"""

from invert.metrics.features import features_of, fidelity
from invert.metrics.request import Request
from invert.metrics.result import Measured
from invert.metrics.sampling import own_features, sampling_protocol

__all__ = ["measure"]

_SPLITS = 10


def measure(request: Request) -> Measured:
    """Measure how certain Inception is of each image's class, and how many classes there are.

    Raises:
        InvertError: It cannot be measured of these.
    """
    library, seed = fidelity("metric_isc"), request.settings.seed
    found = library.isc_features_to_metric(own_features(request, "isc"), _SPLITS, True, seed)
    values = {"score": float(found[library.KEY_METRIC_ISC_MEAN]), "deviation": float(found[library.KEY_METRIC_ISC_STD])}
    protocol = {**sampling_protocol(request), **features_of(request).protocol("isc"), "splits": _SPLITS, "seed": seed}
    return Measured(request.subject.path, request.chosen.name, "score", values, request.protocol(protocol))
