"""`invert verify`: validate a file of latents against its schema and checksums."""

import os
from pathlib import Path

import click

from invert.cli import options
from invert.cli.output import Output
from invert.errors import display_path

__all__ = ["verify"]


@options.command(
    short_help="Validate a file of latents.",
    examples=("invert verify photos.h5", "invert verify photos.h5 --json"),
)
@click.argument("path", metavar="FILE.h5", type=click.Path(path_type=Path))
@options.as_json
@options.quiet
def verify(path: Path, as_json: bool, quiet: bool) -> None:
    """Validate a file of latents, whoever wrote it: its schema, every checksum, and that all numbers are finite."""
    from invert.hdf5.reading import open_latents
    from invert.hdf5.verification import verify as check

    output = Output(as_json=as_json, quiet=quiet)
    with open_latents(path) as latents:
        check(latents)
        images, failures, digest = len(latents), latents.failure_count, latents.structure.content_sha256
    record = {
        "type": "summary",
        "code": "intact",
        "path": os.fspath(path),
        "images": images,
        "failures": failures,
        "content_sha256": digest,
    }
    output.result(record, f"{display_path(path)} is intact: {images} images, {failures} without a result")
