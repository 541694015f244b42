"""The metrics by name: one line each. Nothing here imports torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from invert.errors import UsageError
from invert.metrics.settings import FEATURES

__all__ = ["METRICS", "Chosen", "Metric", "choose", "metric_of"]


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        module: Its module in `invert.metrics`, whose function `measure` gives it.
        title: What it is called where there is room.
        better: Whether lower or higher is better; empty where neither is.
        features: Whether images are compared by the features of a network.
        against: Whether it compares with other images.
        labels: Whether it needs a labelled data set, or predictions.
        shown: Which of its figures tables show; none: all of them.
    """

    module: str
    title: str
    better: str = "lower"
    features: bool = False
    against: bool = False
    labels: bool = False
    shown: tuple[str, ...] = ("mean",)


METRICS = {
    "fd": Metric("frechet", "Frechet distance", features=True, against=True, shown=("distance",)),
    "kid": Metric("kernel", "kernel distance", features=True, against=True, shown=("distance", "deviation")),
    "pr": Metric(
        "precision_recall", "precision and recall", "higher", features=True, against=True, shown=("precision", "recall")
    ),
    "is": Metric("inception_score", "Inception score", "higher", features=True, shown=("score", "deviation")),
    "ppl-zfull": Metric("path_length", "path length in z, whole paths"),
    "ppl-zend": Metric("path_length", "path length in z, ends of paths"),
    "ppl-wfull": Metric("path_length", "path length in w, whole paths"),
    "ppl-wend": Metric("path_length", "path length in w, ends of paths"),
    "separability": Metric("separability", "linear separability", labels=True, shown=("z", "w")),
    "jacobian": Metric(
        "jacobian", "singular values of dG/dw", "", shown=("effective_rank", "condition", "path_length")
    ),
    "eqt-int": Metric("equivariance", "EQ-T, shifts by whole pixels", "higher", shown=("psnr",)),
    "eqt-frac": Metric("equivariance", "EQ-T, shifts by any amount", "higher", shown=("psnr",)),
    "eqr": Metric("equivariance", "EQ-R, rotations", "higher", shown=("psnr",)),
    "resolutions": Metric("resolutions", "shares of the resolutions", "", shown=()),
}

_DEFAULT = {True: "fd-vgg,kid-vgg,pr-vgg", False: "ppl-wend"}
_FID = "fid"  # the Frechet distance of Inception features, and of no others


@dataclass(frozen=True)
class Chosen:
    """A metric that was asked for.

    Attributes:
        kind: Key of `METRICS`.
        features: One of `FEATURES`, "file", or empty where it compares no features.
    """

    kind: str
    features: str = ""

    @property
    def metric(self) -> Metric:
        """Its line in the table."""
        return METRICS[self.kind]

    @property
    def name(self) -> str:
        """What results call it: only with Inception's features does it have the name that papers use."""
        if not self.features:
            return self.kind
        if self.features == "inception":
            return _FID if self.kind == "fd" else self.kind
        return f"{self.kind}-{self.features}"


def choose(names: str | Sequence[str] | None, features: str | None, against: bool) -> list[Chosen]:
    """Return the metrics that names stand for.

    Args:
        names: Such as "fid,kid" or "ppl-wend", or a list of them; None: what is usual with and without `against`.
        features: One of `FEATURES` or "file", for names that do not say; None: Inception.
        against: Whether there are images to compare with.

    Raises:
        UsageError: There is no such metric, or one needs images to compare with and there are none.
    """
    listed = (names or _DEFAULT[against]).split(",") if isinstance(names, str | None) else list(names)
    chosen = list(dict.fromkeys(_chosen(name.strip().lower(), features) for name in listed))
    for one in chosen:
        if one.metric.against and not against:
            raise UsageError(f"{one.name} compares with other images", advice="Name them with --against.")
        if one.kind == "is" and one.features != "inception":
            raise UsageError("the Inception score is of Inception's classes", advice="Use --features inception.")
    return chosen


def metric_of(name: str) -> Metric:
    """Return the line of the table that belongs to a result's name, such as "fd-vgg"."""
    return _chosen(name, "file").metric


def _chosen(name: str, features: str | None) -> Chosen:
    kind, _, suffix = name.partition("-")
    if kind == _FID and not suffix:
        return Chosen("fd", features or "inception")
    if name in METRICS:
        return Chosen(name, (features or "inception") if METRICS[name].features else "")
    if kind in METRICS and METRICS[kind].features and suffix in (*FEATURES, "file"):
        if suffix == "file" and features != "file":
            raise UsageError(f"{name} needs a file of weights", advice="Name it with --features FILE.")
        return Chosen(kind, suffix)
    known = ", ".join([_FID, *METRICS])
    advice = f"There are {known}, and those of features as fd-vgg, kid-alex ..."
    raise UsageError(f"there is no metric {name!r}", advice=advice)
