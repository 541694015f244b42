"""`invert train-encoder`: a small network that tells the latents of images at a glance."""

import dataclasses
from pathlib import Path
from typing import Any

import click

from invert.cli import options
from invert.cli.inputs import NETWORK_FILE
from invert.cli.output import Output
from invert.errors import display_path
from invert.projection.encoder_settings import EncoderSettings

__all__ = ["train_encoder"]


@options.command(
    "train-encoder",
    short_help="Train an encoder: a start for projections.",
    examples=(
        "invert train-encoder ffhq.pkl",
        "invert train-encoder ffhq.pkl --steps 5000 --device cuda",
    ),
)
@click.argument("network", metavar="NETWORK", type=NETWORK_FILE)
@options.option(
    "--out",
    metavar="ENCODER.safetensors",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The encoder's file.  [default: NETWORK.encoder.safetensors, where projections look for it]",
)
@options.settings(EncoderSettings, environment=False)
@options.threads
@options.device
@options.as_json
@options.quiet
@options.overwrite
def train_encoder(
    network: Path,
    out: Path | None,
    threads: int | None,
    device: str,
    as_json: bool,
    quiet: bool,
    overwrite: bool,
    **settings: Any,
) -> None:
    """Train an encoder on a network's own samples, whose latents are known.

    With it 'invert project --start encoder' and '--preset fast' start near the end of their search. A run that was
    stopped is resumed by the same command.
    """
    from invert import api
    from invert.projection.encoders import encoder_path

    path = encoder_path(network) if out is None else out
    with Output(as_json=as_json, quiet=quiet) as output:
        bar = output.step_progress(settings["steps"])
        last: Any = None

        def step(record: Any) -> None:
            nonlocal last
            last = record
            bar.step(record.step, f"error of w {record.w_error:.3f}, distance {record.distance:.4f}")

        found = api.train_encoder(
            options.load_network(network, output),
            path,
            device=device,
            threads=threads,
            overwrite=overwrite,
            on_step=step,
            on_message=output.note,
            **settings,
        )
        measured = {} if last is None else {"w_error": last.w_error, "distance": last.distance}
        record = {"type": "encoder", "code": "trained", "path": str(path), **dataclasses.asdict(found.network.shape)}
        line = f"wrote {display_path(path)}"
        if last is not None:
            line += f": error of w {last.w_error:.3f} of that of the mean w, LPIPS {last.distance:.4f}"
        output.result({**record, **measured}, line)
