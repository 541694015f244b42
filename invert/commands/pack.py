"""`invert pack`: make the HDF5 file of a batch whose shards are done."""

import os
from pathlib import Path

import click

from invert.batch.outputs import pack_record, pack_told
from invert.cli import options
from invert.cli.output import Output
from invert.errors import NoInputError, display_path
from invert.hdf5.pack import PackResult
from invert.store.locks import lock_output

__all__ = ["pack", "pack_line"]


@options.command(
    short_help="Make the HDF5 file of a batch whose shards are done.",
    examples=("invert pack photos.h5", "invert pack photos.h5 --partial"),
)
@click.argument("out", metavar="FILE.h5", type=click.Path(path_type=Path))
@options.option(
    "--partial", is_flag=True, help="Pack what there is of a batch that is not finished, and keep its journal."
)
@options.as_json
@options.quiet
def pack(out: Path, partial: bool, as_json: bool, quiet: bool) -> None:
    """Pack the journal FILE.h5.work of `invert project --shard I/N` into FILE.h5, and remove it."""
    with Output(as_json=as_json, quiet=quiet) as output, lock_output(out) as lock:
        if not lock.begun:
            if out.exists():
                output.result({"type": "summary", "code": "packed-before", "out": os.fspath(out)}, _before(out))
                return
            raise NoInputError("there is nothing to pack", path=out, code="nothing-to-pack")
        packed = pack_told(lock, output.note, partial=partial)
        output.result({"type": "summary", "code": "packed", **pack_record(packed)}, pack_line(packed))
        for name in packed.damaged:
            output.warning(f"left out, for it is damaged: {name}")


def _before(out: Path) -> str:
    return f"{display_path(out)} is there already, and nothing waits to be packed"


def pack_line(packed: PackResult) -> str:
    """Return what people are told of a packed file."""
    rows = f"{packed.rows} images" if packed.rows != 1 else "1 image"
    return f"wrote {display_path(packed.out)}: {rows}, {packed.size:,} bytes, sha256 {packed.sha256}"
