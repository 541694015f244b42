"""`invert info`: what a network file is, without building the network."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from generator.config import to_dict
from generator.files.state import Tuned
from generator.settings import map_shape
from invert.cli import options
from invert.cli.inputs import NETWORK_FILE
from invert.cli.output import Output
from invert.errors import display_path, network_errors

if TYPE_CHECKING:
    from generator.files.reading import Inspection

__all__ = ["info"]

Row = tuple[str, tuple[int, ...], int]

# Kept with the network but not learnt by gradient.
_BUFFERS = frozenset({"w_avg", "noise_const", "resample_filter", "magnitude_ema", "transform", "freqs", "phases"})


@options.command(
    short_help="Show what a network file holds.",
    examples=("invert info ffhq.pkl", "invert info network.safetensors --json"),
)
@click.argument("file", type=NETWORK_FILE)
@options.as_json
@options.quiet
def info(file: Path, as_json: bool, quiet: bool) -> None:
    """Show what a network file holds: family, architecture, parameters, hash, and what it asks for.

    Nothing in the file is run, whatever it asks for.
    """
    with network_errors(file):
        from generator.files.reading import inspect

        found = inspect(file)
    output = Output(as_json=as_json, quiet=quiet)
    for warning in found.state.warnings:
        output.warning(f"network '{display_path(file)}': {warning}")
    networks = {"generator": found.state.generator_state}
    if found.state.discriminator_state is not None:
        networks["discriminator"] = found.state.discriminator_state
    tables = {name: _table(arrays) for name, arrays in networks.items()}
    output.result(_record(found, tables), *_lines(found, tables))


def _record(found: "Inspection", tables: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    state = found.state
    configs = {"generator": state.generator_config, "discriminator": state.discriminator_config}
    return {
        "type": "network",
        "code": "network",
        "path": str(found.path),
        "family": state.family,
        "sha256": found.sha256,
        "weights_sha256": found.weights_sha256,
        "source_sha256": state.source_sha256,
        **{name: value for name, value in state.settings.items() if name == "tuned"},
        "config": {name: None if config is None else to_dict(config) for name, config in configs.items()},
        "parameters": {name: _total(rows) for name, rows in tables.items()},
        "layers": {
            name: [{"layer": layer, "shape": list(shape), "parameters": count} for layer, shape, count in rows]
            for name, rows in tables.items()
        },
        "globals_asked": sorted(state.globals_asked),
        "embeds_source": state.embeds_source,
        "warnings": list(state.warnings),
    }


def _lines(found: "Inspection", tables: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    state = found.state
    mapping, synthesis = state.generator_config.mapping, state.generator_config.synthesis
    height, width = map_shape(synthesis, synthesis.img_resolution)
    facts = {
        "family": state.family,
        "sha256": found.sha256,
        "weights": f"{found.weights_sha256} (sha256 of the generator's, the same in every format)",
        "images": f"{width} x {height}, {synthesis.img_channels} channels",
        "generator": f"{synthesis.architecture}, {_total(tables['generator']):,} parameters",
        "discriminator": "none",
        "latents": f"z {mapping.z_dim}, w {mapping.w_dim}, {mapping.num_layers} mapping layers",
        "classes": str(mapping.c_dim or "none"),
        "noise maps": "yes" if synthesis.use_noise else "no",
        "source code": "embedded; it was not run" if state.embeds_source else "none embedded",
        "asks for": ", ".join(sorted(state.globals_asked)) or "nothing",
    }
    tuned = Tuned.of(state.settings)
    if tuned is not None:
        facts["for"] = str(tuned)
    if synthesis.alpha < 1:
        facts["images"] += f", saved while it grew: layers at {width} px faded in to {synthesis.alpha:.4g}"
    if state.discriminator_config is not None:
        facts["discriminator"] = (
            f"{state.discriminator_config.architecture}, {_total(tables['discriminator']):,} parameters"
        )
    yield from (f"{name:<14} {value}" for name, value in facts.items())
    for name, rows in tables.items():
        yield ""
        yield f"{name:<26} {'weight':<18} {'parameters':>12}"
        for layer, shape, count in rows:
            yield f"{layer:<26} {' x '.join(map(str, shape)):<18} {count:>12,}"


def _total(rows: Sequence[Row]) -> int:
    return sum(count for *_, count in rows)


def _table(arrays: Mapping[str, Any]) -> list[Row]:
    """Return a layer's name, the shape of its weight and its number of parameters, for each layer."""
    layers: dict[str, list[str]] = {}
    for name in sorted(arrays, key=_position):
        layers.setdefault(name.rpartition(".")[0].removesuffix(".affine"), []).append(name)
    rows = []
    for layer, names in layers.items():
        parameters = [name for name in names if name.rpartition(".")[2] not in _BUFFERS]
        if parameters:
            weight = f"{layer}.weight" if f"{layer}.weight" in arrays else parameters[0]
            rows.append((layer, tuple(arrays[weight].shape), sum(int(arrays[name].size) for name in parameters)))
    return rows


def _position(name: str) -> list[tuple[str, int]]:
    """Sort names with their numbers as numbers, b8 before b16."""
    parts = [(part, part.rstrip("0123456789")) for part in name.split(".")]
    return [(letters, int(part[len(letters) :] or 0)) for part, letters in parts]
