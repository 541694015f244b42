"""Which class each training image belongs to."""

from invert.datasets.dataset_json import MAX_CLASSES, Labels
from invert.datasets.source import Source
from invert.errors import NoInputError, UsageError

__all__ = ["check_labels", "folder_labels", "unlabelled"]


def folder_labels(source: Source) -> Labels:
    """Make each direct subfolder a class, in the order of the bytes of their names.

    Images that lie in the root itself get no label.

    Raises:
        UsageError: No subfolder holds images, or absurdly many do.
    """
    folders = {name: name.split("/", 1)[0] for name in source.names if "/" in name}
    classes = sorted(set(folders.values()), key=lambda folder: folder.encode("utf-8", "surrogateescape"))
    if not 0 < len(classes) <= MAX_CLASSES:
        reason = f"{len(classes)} subfolders hold images, so their names give no classes"
        raise UsageError(reason, path=source.path, advice="Leave --labels folders out.")
    index = {folder: number for number, folder in enumerate(classes)}
    shown = tuple(folder.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for folder in classes)
    return Labels({name: index[folder] for name, folder in folders.items()}, shown)


def check_labels(source: Source) -> None:
    """Raise unless at least one image has a label, where there are labels at all.

    Raises:
        NoInputError: The labels are of other images.
    """
    if source.labels is not None and source.names and not any(name in source.labels.of for name in source.names):
        reason = f"none of its {len(source.names)} images has one of its {len(source.labels.of)} labels"
        advice = "Names in dataset.json are relative to the folder or zip that it is in."
        raise NoInputError(reason, path=source.path, advice=advice, code="labels-foreign")


def unlabelled(source: Source, index: int) -> NoInputError | None:
    """Return the error about an image without a label, in a source whose images have labels; else None."""
    if source.labels is None or source.names[index] in source.labels.of:
        return None
    reason = "it has no label, and other images have"
    return NoInputError(reason, path=source.where(index), advice="Add it to dataset.json.", code="label-missing")
