"""Read a whole file that torch.save wrote, zip or older stream, into records."""

from dataclasses import replace

from generator.errors import NetworkFileError, escaped
from generator.files.pickles.machine import Budget
from generator.files.pickles.reader import Interpretation, interpret
from generator.files.pickles.torch_records import StorageTable, read_storages, skip_header
from generator.files.pickles.vocabularies import TORCH
from generator.files.pickles.zip_reader import read_directory, read_member, read_members

__all__ = ["read_stream", "read_zip"]


def read_stream(data: memoryview) -> Interpretation:
    """Interpret torch's older file format, used before version 1.6.

    Raises:
        NetworkFileError: The file is damaged or asks for anything that is not understood.
    """
    budget = Budget.of_file(len(data))
    start = skip_header(data, budget)
    table = StorageTable(length=6, classes=True)
    saved = interpret(data, TORCH, persistent=table, budget=budget, start=start, whole=False)
    read_storages(data, saved.end, table, budget)
    return replace(saved, has_source=table.has_source)


def read_zip(data: memoryview) -> Interpretation:
    """Interpret torch's zip file format.

    Raises:
        NetworkFileError: The file is damaged, another kind of archive, or asks for anything that is not understood.
    """
    directory = read_directory(data)
    folder = _folder({entry.name for entry in directory.entries})
    members = read_members(data, directory)
    order = members.get(f"{folder}/byteorder")
    if order is not None and bytes(read_member(data, order)) != b"little":
        raise NetworkFileError("refused: the file was not written by a little-endian machine", order.begin)
    table = StorageTable(length=5)
    pickle = members[f"{folder}/data.pkl"]
    try:
        saved = interpret(read_member(data, pickle), TORCH, persistent=table, budget=Budget.of_file(len(data)))
    except NetworkFileError as error:
        offset = None if error.offset is None else pickle.begin + error.offset
        raise NetworkFileError(error.reason, offset) from None
    for key in table.storages:
        member = members.get(f"{folder}/data/{key}")
        if member is None:
            raise NetworkFileError("damaged: the zip file lacks the data of a tensor", pickle.begin)
        table.fill(key, read_member(data, member))
    return saved


def _folder(names: set[str]) -> str:
    """Return the one folder of a torch.save archive, or say what else the archive is."""
    folders = {name.split("/")[0] for name in names}
    folder = next(iter(folders)) if len(folders) == 1 else ""
    inside = {name.removeprefix(f"{folder}/") for name in names}
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        raise NetworkFileError("this is a TorchScript program, not a network's weights; it is never run")
    arrays = sorted(name.removesuffix(".npy") for name in names if name.endswith(".npy"))
    if arrays:
        shown = ", ".join(escaped(name)[:40] for name in arrays[:3])
        raise NetworkFileError(
            f"this is an archive of numpy arrays ({shown}): a latent, if anything, and not a network"
        )
    if "data.pkl" not in inside:
        raise NetworkFileError("this is a zip file, but not one that torch.save writes; unpack it and give the network")
    return folder
