"""Precision and recall of features of images.

Reference: Kynkaanniemi et al. 2019 ("Improved Precision and Recall Metric for Assessing Generative Models").
"""

from invert.metrics.features import features_of, fidelity
from invert.metrics.request import Request
from invert.metrics.result import Measured
from invert.metrics.sampling import compared_features, sampling_protocol

__all__ = ["measure"]

_NEIGHBOURS = 3
_BLOCK = 1000  # rows of distances that are in memory together


def measure(request: Request) -> Measured:
    """Measure which share of the subject lies among the others, and which share of the others among the subject.

    Raises:
        InvertError: It cannot be measured of these.
    """
    own, others = compared_features(request, "prc")
    library = fidelity("metric_prc")
    found = library.prc_features_to_metric(
        own, others, prc_neighborhood=_NEIGHBOURS, prc_batch_size=_BLOCK, save_cpu_ram=True, verbose=False
    )
    names = {
        "precision": library.KEY_METRIC_PRECISION,
        "recall": library.KEY_METRIC_RECALL,
        "f_score": library.KEY_METRIC_F_SCORE,
    }
    values = {name: float(found[key]) for name, key in names.items()}
    protocol = {**sampling_protocol(request), **features_of(request).protocol("prc"), "neighbours": _NEIGHBOURS}
    return Measured(request.subject.path, request.chosen.name, "f_score", values, request.protocol(protocol))
