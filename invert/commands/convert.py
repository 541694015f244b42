"""`invert convert`: write a network in the project's own format."""

import hashlib
from pathlib import Path

import click

from invert.cli import options
from invert.cli.inputs import NETWORK_FILE
from invert.cli.output import Output
from invert.durable import write_atomic
from invert.errors import UsageError, display_path, network_errors

__all__ = ["convert"]


@options.command(
    short_help="Write a network as safetensors.",
    examples=(
        "invert convert ffhq.pkl ffhq.safetensors",
        "invert convert ffhq.pkl ffhq.safetensors --overwrite --json",
    ),
)
@click.argument("source", metavar="IN", type=NETWORK_FILE)
@click.argument("destination", metavar="OUT.safetensors", type=click.Path(path_type=Path))
@options.as_json
@options.quiet
@options.overwrite
def convert(source: Path, destination: Path, overwrite: bool, as_json: bool, quiet: bool) -> None:
    """Write the network in IN as safetensors, in which a file cannot ask for anything to be run.

    The same file always gives the same bytes, and a converted file converted again stays as it is.
    """
    if destination.suffix != ".safetensors":
        raise UsageError("does not end in .safetensors", path=destination, advice="Name OUT.safetensors.")
    if destination.exists() and not overwrite:
        raise UsageError("exists already", path=destination, advice="Add --overwrite, or choose another name.")
    with network_errors(source):
        from generator.files.invert_format import network_bytes
        from generator.files.reading import load

        network = load(source)
    origin = network.provenance
    output = Output(as_json=as_json, quiet=quiet)
    for warning in origin.warnings:
        output.warning(f"network '{display_path(source)}': {warning}")
    data = network_bytes(
        network.generator,
        network.discriminator,
        family=origin.family,
        source_sha256=origin.source_sha256,
        settings=origin.settings,
    )
    write_atomic(destination, data)
    record = {
        "type": "network",
        "code": "converted",
        "path": str(destination),
        "sha256": hashlib.sha256(data).hexdigest(),
        "weights_sha256": origin.weights_sha256,
        "source_sha256": origin.source_sha256,
    }
    output.result(record, f"wrote {display_path(destination)}, {len(data):,} bytes, sha256 {record['sha256']}")
