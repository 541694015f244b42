"""Linear separability: how well a hyperplane in latent space tells images that have an attribute from those without.

Reference: Karras et al. 2019, section 4.2.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from generator.training.images import stream_seed
from invert.datasets.training_images import open_images
from invert.errors import NoInputError, UsageError, display_path
from invert.images.opening import read_regular
from invert.metrics.classifiers import Classifier, attributes_of, classifier_input, pixels_digest, train_classifier
from invert.metrics.drawing import Drawing
from invert.metrics.parts import Parts
from invert.metrics.request import Request
from invert.metrics.result import Measured
from invert.npy import ArraysError, read_arrays

__all__ = ["Labelled", "conditional_entropy", "hyperplane_entropy", "labelled_samples", "measure"]

SAMPLES = 200_000
PART = 1024
"""Samples of a part: what a run that is stopped does again at most."""

_MAX_FILE = 4 << 30
_ITERATIONS = 1000
_FEWEST = 20


def conditional_entropy(predicted: NDArray[np.bool_], labels: NDArray[np.bool_]) -> float:
    """Return H(labels | predicted) in nats.

    Args:
        predicted: On which side of the hyperplane each sample lies, `[n]`.
        labels: Whether it has the attribute, `[n]`.
    """
    joint = np.histogram2d(predicted, labels, bins=2, range=[[0, 1], [0, 1]])[0] / len(labels)
    given = np.broadcast_to(joint.sum(axis=1, keepdims=True), joint.shape)
    there = joint > 0
    return float(max(0.0, -(joint[there] * np.log(joint[there] / given[there])).sum()))


def hyperplane_entropy(latents: NDArray[Any], labels: NDArray[np.bool_], seed: int = 0) -> tuple[float, bool]:
    """Return what uncertainty of an attribute a hyperplane in latent space leaves, in nats.

    Args:
        latents: `[n, F]`.
        labels: Whether each sample has the attribute, `[n]`.
        seed: Seed of the solver.

    Returns:
        The entropy, and whether the solver converged. Where all samples are alike nothing is uncertain: 0.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    if labels.all() or not labels.any():
        return 0.0, True
    machine = LinearSVC(dual=True, max_iter=_ITERATIONS, random_state=seed)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", ConvergenceWarning)
        machine.fit(latents, labels)
    converged = not any(issubclass(one.category, ConvergenceWarning) for one in said)
    return conditional_entropy(machine.predict(latents).astype(bool), labels), converged


@dataclass(frozen=True, eq=False)
class Labelled:
    """Latents of samples, and what is said of their images.

    Attributes:
        z: float32 `[n, z_dim]`.
        w: float32 `[n, w_dim]`.
        names: Names of the A attributes.
        logits: `[n, A]`; above 0 where a sample has the attribute, the further the surer.
        protocol: Where that comes from.
    """

    z: NDArray[np.float32]
    w: NDArray[np.float32]
    names: Sequence[str]
    logits: NDArray[Any]
    protocol: dict[str, Any]


def measure(request: Request) -> Measured:
    """Measure the separability of z and of w: exp of the sum of the conditional entropies of all attributes.

    Raises:
        UsageError: What is measured are images, or predictions do not fit the network.
        NoInputError: There are no labels, or too few of one kind.
    """
    if request.subject.network is None:
        raise UsageError("separability is measured of networks, not of images", path=request.subject.path)
    if request.labels is None:
        reason = "separability needs a labelled data set, or predictions"
        raise UsageError(reason, advice="Name it with --labels.")
    found = labelled_samples(request, request.labels)
    spaces = {"z": found.z, "w": found.w}
    entropies: dict[str, float] = {}
    unfinished = []
    half = len(found.z) // 2
    for number, name in enumerate(found.names):
        logits = found.logits[:, number]
        surest = np.sort(np.argsort(-np.abs(logits), kind="stable")[:half])
        for space, latents in spaces.items():
            entropy, converged = hyperplane_entropy(latents[surest], logits[surest] > 0, request.settings.seed)
            entropies[f"{space} {name}"] = entropy
            unfinished += [] if converged else [f"{space} {name}"]
        request.on_progress(f"hyperplanes of {request.subject.path.name}", number + 1, len(found.names))
    scores = {space: float(np.exp(sum(entropies[f"{space} {name}"] for name in found.names))) for space in spaces}
    values: dict[str, float | None] = {**scores, **{f"entropy {name}": value for name, value in entropies.items()}}
    protocol = {
        "samples": len(found.z),
        "kept": half,
        **request.settings.protocol("psi", "seed"),
        "svm": f"LinearSVC(dual=True, max_iter={_ITERATIONS})",
        "svm_not_converged": unfinished,
        "sklearn": metadata.version("scikit-learn"),
        **found.protocol,
    }
    return Measured(request.subject.path, request.chosen.name, "w", values, request.protocol(protocol))


def labelled_samples(request: Request, labels: Path) -> Labelled:
    """Return samples of a network with their attributes.

    Args:
        request: Names the network and the settings.
        labels: A labelled data set, on which classifiers are trained; or a .npz of z and probabilities.

    Raises:
        UsageError: Predictions do not fit the network, or samples are too few.
        NoInputError: There are no labels, or too few of one kind.
    """
    given = labels.suffix.lower() == ".npz"
    return _predictions(request, labels) if given else _classified(request, labels)


def _classified(request: Request, data: Path) -> Labelled:
    """Train classifiers on a data set, and let them label samples of the network."""
    settings = request.settings
    classifiers = _classifiers(request, data)
    names = list(classifiers)
    total = settings.samples or SAMPLES
    if total < _FEWEST:
        raise UsageError(f"separability takes {_FEWEST} samples at the least", advice="Give more --samples.")
    about = {
        "metric": "separability",
        "network": request.subject.digest(),
        "data": request.shared["separability data"],
        "attributes": names,
        **settings.protocol("psi", "noise", "seed", "classifier_kimg"),
        "batch": settings.batch_at(request.subject.resolution),
    }
    parts = Parts(about, device=request.device, keep=request.keep)
    z, w, logits = [], [], []
    for first in range(0, total, PART):
        n = min(PART, total - first)
        drawing = Drawing(request.generator, stream_seed("metrics", "separability", settings.seed, first))
        with torch.inference_mode():
            latents, labels = drawing.z(n), drawing.labels(n)
            ws = request.generator.mapping_ws(latents, labels, settings.psi)

        def compute(ws: Tensor = ws, drawing: Drawing = drawing, first: int = first) -> NDArray[np.float32]:
            return _label(request, [one.network for one in classifiers.values()], ws, drawing, first, total)

        logits.append(parts.get({"first": first, "n": n}, compute, np.float32, (n, len(names))))
        z.append(latents.cpu().numpy())
        w.append(ws[:, -1].cpu().numpy())
        request.on_progress(f"samples of {request.subject.path.name}", first + n, total)
    protocol = {
        "labels": str(data),
        "labels_sha256": request.shared["separability data"],
        "attributes": {name: {"held_out_accuracy": round(one.accuracy, 4)} for name, one in classifiers.items()},
        **settings.protocol("noise", "classifier_kimg"),
    }
    return Labelled(np.concatenate(z), np.concatenate(w), names, np.concatenate(logits), protocol)


def _classifiers(request: Request, data: Path) -> dict[str, Classifier]:
    """Return the classifiers by attribute, which all networks share."""
    key = "separability classifiers"
    if key not in request.shared:
        images, settings = open_images(data, on_message=request.on_warning), request.settings
        total, digest = round(settings.classifier_kimg * 1000), pixels_digest(images)
        trained = {}
        for attribute in attributes_of(images, settings.chosen_attributes):
            trained[attribute.name] = train_classifier(
                images,
                attribute,
                digest=digest,
                kimg=settings.classifier_kimg,
                seed=settings.seed,
                device=request.device,
                keep=request.keep,
                on_step=lambda seen, name=attribute.name: request.on_progress(f"classifier of {name}", seen, total),  # type: ignore[misc]
            )
        request.shared["separability data"] = digest
        request.shared["separability shape"] = (images.resolution, images.channels)
        request.shared[key] = trained
    shape = (request.subject.resolution, request.subject.channels)
    if request.shared["separability shape"] != shape:
        reason = f"its images have {request.shared['separability shape'][0]} px, the network's {shape[0]}"
        raise UsageError(reason, path=data, advice="Sizes and channels have to be alike.", code="metrics-shape")
    found: dict[str, Classifier] = request.shared[key]
    return found


@torch.inference_mode()
def _label(
    request: Request, networks: Sequence[nn.Module], ws: Tensor, drawing: Drawing, first: int, total: int
) -> NDArray[np.float32]:
    """Return what classifiers say of the images of styles, `[n, A]`."""
    settings = request.settings
    batch = settings.batch_at(request.subject.resolution)
    rows = []
    for begin in range(0, len(ws), batch):
        styles = ws[begin : begin + batch]
        images = request.generator.synthesis(styles, drawing.noise(settings.noise, len(styles)))
        seen = classifier_input(images)
        rows.append(torch.cat([network(seen) for network in networks], dim=1).cpu().numpy())
        what = f"samples of {request.subject.path.name}"
        request.on_progress(what, first + begin + len(styles), total)
    return np.concatenate(rows)


def _predictions(request: Request, path: Path) -> Labelled:
    """Read what somebody else says of samples of the network: latents, and probabilities of attributes."""
    try:
        arrays = read_arrays(read_regular(path, _MAX_FILE))
    except ArraysError as error:
        raise NoInputError(str(error), path=path, code="predictions") from error
    advice = "It should have z [n, z_dim], probabilities [n, attributes] and, if wanted, names and classes."
    mapping = request.generator.config.mapping
    z, probabilities = arrays.get("z"), arrays.get("probabilities")
    if z is None or probabilities is None or z.dtype.kind != "f" or probabilities.dtype.kind != "f":
        raise NoInputError("lacks z or probabilities", path=path, advice=advice, code="predictions")
    probabilities = probabilities[:, None] if probabilities.ndim == 1 else probabilities
    fits = z.ndim == 2 and z.shape[1] == mapping.z_dim and probabilities.shape[:1] == z.shape[:1]
    if not fits or probabilities.ndim != 2 or len(z) < _FEWEST:
        reason = f"has z {list(z.shape)} and probabilities {list(probabilities.shape)}, of a network with z_dim "
        raise UsageError(f"{reason}{mapping.z_dim}", path=path, advice=advice, code="predictions-shape")
    if not np.isfinite(z).all() or not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise NoInputError("has z that is not finite, or probabilities out of [0, 1]", path=path, code="predictions")
    names = [str(name) for name in arrays.get("names", np.arange(probabilities.shape[1]))]
    if len(set(names)) != probabilities.shape[1]:
        raise NoInputError("has not one name for each attribute", path=path, advice=advice, code="predictions")
    if chosen := request.settings.chosen_attributes:
        missing = [name for name in chosen if name not in names]
        if missing:
            reason = f"has no attribute '{display_path(missing[0])}'"
            raise UsageError(reason, path=path, advice=f"Its names are: {', '.join(names)}.", code="attribute-missing")
        probabilities, names = probabilities[:, [names.index(name) for name in chosen]], list(chosen)
    w = _mapped(request, z, arrays.get("classes"), path, advice)
    return Labelled(np.asarray(z, np.float32), w, names, probabilities - 0.5, {"labels": str(path)})


@torch.inference_mode()
def _mapped(
    request: Request, z: NDArray[Any], classes: NDArray[Any] | None, path: Path, advice: str
) -> NDArray[np.float32]:
    generator, labels = request.generator, None
    if count := generator.config.mapping.c_dim:
        right = classes is not None and classes.shape == z.shape[:1] and classes.dtype.kind in "iu"
        if classes is None or not right or not ((classes >= 0) & (classes < count)).all():
            reason = f"has not the class, 0 to {count - 1}, of each z of a conditional network"
            raise UsageError(reason, path=path, advice=advice, code="predictions-shape")
        labels = nn.functional.one_hot(torch.from_numpy(classes.astype(np.int64)), count).float().to(request.device)
    rows = torch.from_numpy(np.asarray(z, np.float32)).to(request.device)
    return generator.mapping_ws(rows, labels, request.settings.psi)[:, -1].cpu().numpy()
