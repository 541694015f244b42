"""Find directions in W along which the images of a network change.

References: Shen and Zhou 2021 (SeFa: eigenvectors of the style weights); Härkönen et al. 2020 (GANSpace: principal
components of W); Shen et al. 2020 (InterFaceGAN: normals of hyperplanes that tell labelled samples apart).
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from generator.networks import Generator
from invert.editing.directions import Directions, identity
from invert.errors import NoInputError, NumericError, UsageError
from invert.metrics.request import OnProgress, Request, Subject
from invert.metrics.separability import Labelled, labelled_samples
from invert.metrics.settings import MeasureSettings
from invert.metrics.table import Chosen
from invert.projection.latents import sample_w

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork

__all__ = ["METHODS", "Labels", "Method", "find_directions", "hyperplane", "principal_directions", "style_weights"]

Method = Literal["sefa", "pca", "labels"]
METHODS: tuple[Method, ...] = get_args(Method)

_HELD_OUT = 5
"""One sample in so many is not fitted, and tells how good a hyperplane is."""

_FEWEST = 2
_NAMED = 20


@dataclass(frozen=True)
class Labels:
    """What samples are labelled by.

    Attributes:
        path: A labelled data set, on which classifiers are trained, or a .npz of z and probabilities of samples.
        classifier_kimg: Thousands of images that each classifier is trained on.
        device: Device that computes.
        on_progress: Called with what is done, how much of it, and how much there is.
        attributes: Names of the attributes that are wanted, with commas between them; None: all.
    """

    path: Path
    classifier_kimg: float = 100.0
    device: str = "cpu"
    on_progress: OnProgress = lambda *_: None
    attributes: str | None = None


def find_directions(
    loaded: "LoadedNetwork",
    method: Method,
    *,
    count: int = 10,
    styles: Sequence[int] | None = None,
    samples: int = 10_000,
    seed: int = 0,
    labels: Labels | None = None,
    on_warning: Callable[[str], None] = lambda _: None,
) -> Directions:
    """Find directions of a network.

    Args:
        loaded: The network, in evaluation mode, on its device.
        method: "sefa": the directions that the style weights amplify most. "pca": those along which W spreads most.
            "labels": those along which an attribute changes, one for each attribute.
        count: How many, at most; of labels all are kept.
        styles: The styles whose weights sefa looks at, and that the directions are applied to; None is all.
        samples: How many w are drawn: for pca, for labels and for the length of an amount of 1.
        seed: Seed of what is drawn.
        labels: What samples are labelled by, for "labels".
        on_warning: Called with a line for an attribute that all samples share, or that no hyperplane was fitted to.

    Raises:
        UsageError: The network has no style weights, fewer styles, or there are too few samples.
        NoInputError: There are no labels, or no attribute that tells samples apart.
        NumericError: The weights are not finite.
    """
    generator = loaded.generator
    styles = None if styles is None else tuple(sorted(set(styles)))
    far = next((style for style in styles or () if not 0 <= style < generator.num_ws), None)
    if far is not None:
        raise UsageError(f"style {far}: the network has {generator.num_ws} styles, 0 to {generator.num_ws - 1}")
    w = sample_w(generator, samples, seed=seed).cpu().double()
    if not bool(w.isfinite().all()):
        raise NumericError("its w are not finite", path=loaded.provenance.path, code="network-not-finite")
    settings: dict[str, Any] = {"samples": samples, "seed": seed}
    if method == "labels":
        if labels is None:
            raise UsageError("directions from labels need labels", advice="Name them with --labels.")
        found = _labelled(loaded, labels, samples, seed, on_warning)
        settings |= found.settings
    else:
        matrix = _stacked(generator, styles) if method == "sefa" else w - w.mean(dim=0)
        found = _numbered(method, *principal_directions(matrix, count))
    deviations = (w @ found.vectors.T).std(dim=0)
    return Directions(
        method,
        found.names,
        found.vectors.float().numpy(),
        deviations.float().numpy(),
        np.asarray(found.strengths, np.float32),
        styles,
        identity(loaded),
        settings,
    )


@dataclass(frozen=True, eq=False)
class _Named:
    names: tuple[str, ...]
    vectors: Tensor
    strengths: Sequence[float]
    settings: dict[str, Any]


def _numbered(method: str, vectors: Tensor, values: Tensor) -> _Named:
    names = tuple(f"{method} {number}" for number in range(len(vectors)))
    # of pca the share of all variance: its values are those of all components
    strengths = values / values.sum() if method == "pca" else values
    return _Named(names, vectors, strengths[: len(vectors)].tolist(), {})


def principal_directions(matrix: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the directions x of length 1 that make |matrix x| largest, each at right angles to those before it.

    Args:
        matrix: float64 `[n, d]`.
        count: How many, at most.

    Returns:
        The directions `[min(count, d), d]`, whose number of the largest size is positive; and for all d of them the
        eigenvalue |matrix x|^2.
    """
    values, vectors = torch.linalg.eigh(matrix.T @ matrix)  # in ascending order
    chosen = vectors.T.flip(0)[:count]
    largest = chosen.gather(1, chosen.abs().argmax(dim=1, keepdim=True))
    return (chosen * largest.sign()).contiguous(), values.flip(0).clamp(min=0)


@torch.inference_mode()
def style_weights(generator: Generator) -> list[tuple[int, Tensor]]:
    """Return the weights `[O, w_dim]` of every layer that takes a style, with the number of that style.

    A pass through the network, with another constant in each style, tells which of them a layer takes: so it is the
    same for every family.
    """
    found: list[tuple[int, Tensor]] = []

    def note(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        weight = module.weight
        if isinstance(weight, Tensor):
            found.append((round(float(given[0][0, 0])), weight.detach()))

    synthesis = generator.synthesis
    layers = [module for name, module in synthesis.named_modules() if name.rpartition(".")[2] == "affine"]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        device = generator.mapping.w_avg.device
        ws = torch.arange(generator.num_ws, dtype=torch.float32, device=device)[None, :, None]
        synthesis(ws.repeat(1, 1, generator.config.mapping.w_dim), "none")
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _stacked(generator: Generator, styles: Sequence[int] | None) -> Tensor:
    """Return the style weights of some styles, each row brought to length 1, float64 `[n, w_dim]`."""
    weights = [weight for style, weight in style_weights(generator) if styles is None or style in styles]
    if not weights:
        raise UsageError("this network has no style weights that sefa could look at", advice="Use --method pca.")
    stacked = torch.cat(weights).cpu().double()
    if not bool(stacked.isfinite().all()):
        raise NumericError("the network's style weights are not finite", code="network-not-finite")
    lengths: Tensor = stacked.norm(dim=1, keepdim=True).clamp(min=1e-30)
    return stacked / lengths


def _labelled(
    loaded: "LoadedNetwork", labels: Labels, samples: int, seed: int, on_warning: Callable[[str], None]
) -> _Named:
    kimg, chosen = labels.classifier_kimg, labels.attributes
    settings = MeasureSettings(samples=samples, seed=seed, noise="fixed", classifier_kimg=kimg, attributes=chosen)
    subject = Subject(loaded.provenance.path, network=loaded)
    request = Request(Chosen("separability"), subject, settings, device=labels.device, on_progress=labels.on_progress)
    found: Labelled = labelled_samples(request, labels.path)
    names, normals, accuracies, unfinished = [], [], [], []
    for number, name in enumerate(found.names):
        logits = found.logits[:, number]
        # the surest half, as for separability: an attribute that is hardly told teaches nothing
        surest = np.sort(np.argsort(-np.abs(logits), kind="stable")[: max(len(logits) // 2, 1)])
        fitted = hyperplane(found.w[surest], logits[surest] > 0, seed)
        if fitted is None:
            on_warning(f"attribute '{name[:_NAMED]}': nearly all samples are alike in it; it has no direction")
            continue
        names.append(name)
        normals.append(torch.from_numpy(fitted.normal))
        accuracies.append(fitted.accuracy)
        unfinished += [] if fitted.converged else [name]
    if not names:
        advice = "Give more --samples, or other labels."
        raise NoInputError("has no attribute that tells samples apart", path=labels.path, advice=advice)
    if unfinished:
        on_warning(f"the hyperplane of {', '.join(unfinished)[:200]} did not converge")
    record = {"svm": "LinearSVC(dual=False)", "sklearn": metadata.version("scikit-learn"), **found.protocol}
    record["labels"] = labels.path.name  # the file may travel, and its folders are nobody's business
    return _Named(tuple(names), torch.stack(normals), accuracies, record)


@dataclass(frozen=True, eq=False)
class Hyperplane:
    """A hyperplane between latents that have an attribute and those that have it not.

    Attributes:
        normal: float64 `[w_dim]` of length 1, towards those that have it.
        accuracy: Share of held-out latents on the right side.
        converged: Whether the solver did.
    """

    normal: NDArray[np.float64]
    accuracy: float
    converged: bool


def hyperplane(latents: NDArray[Any], labels: NDArray[np.bool_], seed: int = 0) -> Hyperplane | None:
    """Fit a linear support vector machine; None where fewer than two of each kind are left to fit it to.

    Args:
        latents: `[n, w_dim]`.
        labels: Whether each has the attribute, `[n]`.
        seed: Seed of the solver, and of what is held out.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    order = np.random.RandomState(seed).permutation(len(labels))
    held_out, fitted = order[::_HELD_OUT], np.delete(order, np.s_[::_HELD_OUT])
    if min(np.bincount(labels[fitted].astype(int), minlength=2)) < _FEWEST:
        return None
    machine = LinearSVC(dual=False, class_weight="balanced", random_state=seed)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", ConvergenceWarning)
        machine.fit(latents[fitted].astype(np.float64), labels[fitted])
    normal = np.asarray(machine.coef_[0], np.float64)
    right = machine.predict(latents[held_out].astype(np.float64)) == labels[held_out]
    converged = not any(issubclass(one.category, ConvergenceWarning) for one in said)
    return Hyperplane(normal / np.linalg.norm(normal), float(right.mean()), converged)
