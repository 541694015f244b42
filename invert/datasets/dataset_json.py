"""The dataset.json of a set of training images, as the published StyleGAN2-ADA code has it.

`{"labels": [["00000/img00000000.png", 3], ...]}`, or `{"labels": null}`; other keys are allowed. Of those,
`"classes"`, a list of names, is read too.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from invert.errors import NoInputError, display_path

__all__ = ["MAX_CLASSES", "MAX_JSON_BYTES", "Labels", "encode_dataset_json", "parse_dataset_json"]

MAX_JSON_BYTES = 256 << 20
MAX_CLASSES = 1 << 20
"""A label is an index into one-hot vectors: a larger one is a mistake, and would ask for absurd memory."""

_ADVICE = 'It should be {"labels": [["name.png", 3], ...]} or {"labels": null}.'


class Labels(NamedTuple):
    """Class by name of the image, relative to the root; names of the classes where they are known."""

    of: dict[str, int]
    classes: tuple[str, ...] | None


def parse_dataset_json(data: bytes, path: Path) -> Labels | None:
    """Read the labels from a dataset.json.

    Args:
        data: The whole file.
        path: Where it came from, for messages.

    Returns:
        None when it says that there are no labels.

    Raises:
        NoInputError: It is not of this form.
    """
    try:
        content: Any = json.loads(data)
    except RecursionError as error:
        raise NoInputError("it is nested too deeply", path=path, advice=_ADVICE, code="labels-damaged") from error
    except ValueError as error:  # not JSON, not UTF-8, or a number of thousands of digits
        reason = f"it is not JSON ({' '.join(str(error).split())[:100]})"
        raise NoInputError(reason, path=path, advice=_ADVICE, code="labels-damaged") from error
    if not isinstance(content, dict) or not isinstance(content.get("labels", 0), list | None):
        raise NoInputError("it has no list of labels", path=path, advice=_ADVICE, code="labels-damaged")
    if content["labels"] is None:
        return None
    of: dict[str, int] = {}
    for index, entry in enumerate(content["labels"]):
        name, label = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)
        # type, not isinstance: true and false are no labels.
        if not isinstance(name, str) or type(label) is not int or not 0 <= label < MAX_CLASSES:
            reason = f"label {index} is not [name, class] with a class from 0 to {MAX_CLASSES - 1}"
            raise NoInputError(reason, path=path, advice=_ADVICE, code="labels-damaged")
        if of.setdefault(name, label) != label:
            reason = f"'{display_path(name)}' has two labels, {of[name]} and {label}"
            raise NoInputError(reason, path=path, code="labels-damaged")
    return Labels(of, _classes(content.get("classes"), of, path))


def _classes(names: Any, of: dict[str, int], path: Path) -> tuple[str, ...] | None:
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise NoInputError('its "classes" is not a list of names', path=path, code="labels-damaged")
    if len(names) > MAX_CLASSES or len(names) <= max(of.values(), default=-1):
        reason = f"it names {len(names)} classes, and its labels go up to {max(of.values(), default=-1)}"
        raise NoInputError(reason, path=path, code="labels-damaged")
    return tuple(names)


def encode_dataset_json(names: Sequence[str], labels: Sequence[int] | None, others: Mapping[str, Any]) -> bytes:
    """Return the dataset.json of these images; the same arguments give the same bytes.

    Args:
        names: Of the images, relative to the root.
        labels: Class of each, or None.
        others: Further keys.
    """
    pairs = None if labels is None else [[name, label] for name, label in zip(names, labels, strict=True)]
    return (json.dumps({"labels": pairs, **others}, allow_nan=False, separators=(",", ":")) + "\n").encode()
