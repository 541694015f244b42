"""The class of each training image: from a dataset.json, or from the folders that images lie in.

A dataset.json is what the published StyleGAN2-ADA code writes, `{"labels": [["00000/img00000000.png", 3], ...]}`, or
`{"labels": null}`. Other keys are allowed, and three of them are read: `"classes"`, a list of names; `"attributes"`,
which are further labels, each of those images that it is known of; and `"attribute_values"`, names of what they may be.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from generator.jsontext import JsonError, read_json
from invert.errors import NoInputError, UsageError, display_path

__all__ = [
    "DATASET_JSON",
    "MAX_CLASSES",
    "MAX_JSON_BYTES",
    "Labels",
    "class_folders",
    "encode_attributes",
    "encode_dataset_json",
    "fitted",
    "folder_labels",
    "label_places",
    "parse_attributes",
    "parse_dataset_json",
]

DATASET_JSON = "dataset.json"
MAX_JSON_BYTES = 256 << 20
MAX_ATTRIBUTES = 1000
MAX_CLASSES = 1 << 20
"""A label is an index into one-hot vectors: a larger one is a mistake, and would ask for absurd memory."""

_ADVICE = 'It should be {"labels": [["name.png", 3], ...]} or {"labels": null}.'


class Labels(NamedTuple):
    """The classes of images.

    Attributes:
        of: Index of the class by name of the image, relative to the root.
        classes: Names of the classes, or None where they are not known.
    """

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
        content: Any = read_json(data, MAX_JSON_BYTES)
    except JsonError as error:
        raise NoInputError(str(error), path=path, advice=_ADVICE, code="labels-damaged") from error
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


def has_alpha(data: bytes) -> bool:
    """Tell whether a dataset.json, which has been read for its labels, says that its images have four channels."""
    content: Any = read_json(data, MAX_JSON_BYTES)
    return bool(type(content.get("channels")) is int and content["channels"] == 4)


def parse_attributes(data: bytes, path: Path) -> dict[str, Labels]:
    """Read the attributes from a dataset.json: each says something of some images, and nothing of the rest.

    Args:
        data: The whole file, which has been read for its labels.
        path: Where it came from, for messages.

    Returns:
        The labels that an attribute gives, by its name. They are indices of its `classes`, or, where these are None,
        1 of images that have it and 0 of those that have it not.

    Raises:
        NoInputError: They are not of this form.
    """
    content: Any = read_json(data, MAX_JSON_BYTES)
    given, names = content.get("attributes") or {}, content.get("attribute_values") or {}
    advice = 'They should be {"attributes": {"smiling": [["name.png", 1], ...]}}.'
    if not isinstance(given, dict) or len(given) > MAX_ATTRIBUTES:
        raise NoInputError("its attributes are no lists by name", path=path, advice=advice, code="labels-damaged")
    if not isinstance(names, dict) or not names.keys() <= given.keys():
        reason = "its attribute_values are no lists of names by name of an attribute"
        advice = 'They should be {"attribute_values": {"hair": ["bald", "long", ...]}}.'
        raise NoInputError(reason, path=path, advice=advice, code="labels-damaged")
    found: dict[str, Labels] = {}
    for attribute, pairs in given.items():
        classes = _names(names.get(attribute), f"attribute_values of '{display_path(attribute)}'", path)
        count = 2 if classes is None else len(classes)
        of: dict[str, int] = {}
        for entry in pairs if isinstance(pairs, list) else [None]:
            name, value = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)
            if not isinstance(name, str) or type(value) is not int or not 0 <= value < count:
                values = "0 or 1" if count == 2 else f"0 to {count - 1}"
                reason = f"attribute '{display_path(attribute)}' is not a list of [name, {values}]"
                raise NoInputError(reason, path=path, advice=advice, code="labels-damaged")
            of[name] = value
        found[attribute] = Labels(of, classes)
    return found


def _classes(names: Any, of: dict[str, int], path: Path) -> tuple[str, ...] | None:
    classes = _names(names, "classes", path)
    if classes is not None and len(classes) <= max(of.values(), default=-1):
        reason = f"it names {len(classes)} classes, and its labels go up to {max(of.values(), default=-1)}"
        raise NoInputError(reason, path=path, code="labels-damaged")
    return classes


def _names(names: Any, key: str, path: Path) -> tuple[str, ...] | None:
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise NoInputError(f'its "{key}" is not a list of names', path=path, code="labels-damaged")
    if len(names) > MAX_CLASSES:
        raise NoInputError(f"it names {len(names)} {key}", path=path, code="labels-damaged")
    return tuple(names)


def encode_dataset_json(names: Sequence[str], labels: Sequence[int] | None, others: Mapping[str, Any]) -> bytes:
    """Return the dataset.json of these images; the same arguments give the same bytes.

    Args:
        names: Names of the images, relative to the root.
        labels: Class of each image, or None.
        others: Further keys and their values.
    """
    pairs = None if labels is None else [[name, label] for name, label in zip(names, labels, strict=True)]
    return (json.dumps({"labels": pairs, **others}, allow_nan=False, separators=(",", ":")) + "\n").encode()


def encode_attributes(attributes: Mapping[str, Labels], written: Mapping[str, str]) -> dict[str, Any]:
    """Return the keys of a dataset.json that say what attributes say of images.

    Args:
        attributes: As read.
        written: What the dataset.json calls each image that it is of, by the name that the attributes have for it.
    """
    pairs = {
        attribute: [[name, labels.of[image]] for image, name in written.items() if image in labels.of]
        for attribute, labels in attributes.items()
    }
    values = {attribute: list(labels.classes) for attribute, labels in attributes.items() if labels.classes is not None}
    return {"attributes": pairs} | ({"attribute_values": values} if values else {})


def label_places(names: Sequence[str]) -> list[str]:
    """Return where a dataset.json may lie: in the root, or in the folder that holds all images, however deep.

    Args:
        names: Names of the images, relative to the root.
    """
    folder = os.path.commonpath([os.path.dirname(name) for name in names]) if names else ""
    parts = folder.split("/") if folder else []
    return ["/".join([*parts[:depth], DATASET_JSON]) for depth in range(len(parts) + 1)]


def fitted(labels: Labels, names: Sequence[str], where: str) -> Labels:
    """Return labels by the names of the images, whose dataset.json may lie in a folder or have names of Windows.

    Args:
        labels: As read.
        names: Names of the images, relative to the root.
        where: The dataset.json, relative to the root; the names in it are relative to its folder.
    """
    folder, known = where.removesuffix(DATASET_JSON), set(names)
    fitting = {}
    for name, value in labels.of.items():
        inside = folder + name
        if inside not in known and "\\" in name:
            inside = folder + name.replace("\\", "/")
        fitting[inside] = value
    return Labels(fitting, labels.classes)


def class_folders(names: Sequence[str]) -> list[str]:
    """Return the direct subfolders that look like classes: several, of which not all are mere numbers of pieces.

    Args:
        names: Names of the images, relative to the root.
    """
    folders = {name.split("/", 1)[0] if "/" in name else "" for name in names}
    is_split = all(folder.isdigit() and len(folder) >= 5 for folder in folders)
    return [] if len(folders) < 2 or "" in folders or is_split else sorted(folders)


def folder_labels(names: Sequence[str], path: Path) -> Labels:
    """Make each direct subfolder a class, in the order of the bytes of their names.

    Images that lie in the root itself get no label.

    Args:
        names: Names of the images, relative to the root.
        path: The root, for messages.

    Raises:
        UsageError: No subfolder holds images, or absurdly many do.
    """
    folders = {name: name.split("/", 1)[0] for name in names if "/" in name}
    classes = sorted(set(folders.values()), key=lambda folder: folder.encode("utf-8", "surrogateescape"))
    if not 0 < len(classes) <= MAX_CLASSES:
        reason = f"{len(classes)} subfolders hold images, so their names give no classes"
        raise UsageError(reason, path=path, advice="Leave --labels folders out.")
    index = {folder: number for number, folder in enumerate(classes)}
    shown = tuple(folder.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for folder in classes)
    return Labels({name: index[folder] for name, folder in folders.items()}, shown)
