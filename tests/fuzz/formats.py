"""The formats that are fuzzed: for each some good files, how one is changed, and what is to read it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.fuzz import images, mutation, networks, results, runs
from tests.fuzz.files import fixture
from tests.fuzz.mutation import Mutator, either

Read = Callable[[bytes, Path], object]
"""Reads a changed file: its bytes, or what is written to a folder that is empty."""


@dataclass(frozen=True)
class Format:
    """A format that is fuzzed.

    Attributes:
        seeds: Makes the good files; called once in a process.
        mutate: Changes one.
        read: Reads it, and raises nothing but errors of the two trees.
    """

    seeds: Callable[[], Sequence[bytes]]
    mutate: Mutator
    read: Read


FORMATS: dict[str, Format] = {
    "pickle": Format(networks.pickles, either(mutation.pickle), networks.read_network),
    "torch": Format(
        networks.torch_files, either(networks.changed_torch_pickle, mutation.zip_fields), networks.read_network
    ),
    "safetensors": Format(networks.own_networks, either(mutation.safetensors), networks.read_network),
    "state": Format(runs.states, either(runs.changed_state, mutation.safetensors), runs.read_state),
    "log": Format(fixture("run/log.jsonl"), either(mutation.json_lines), runs.read_log),
    "settings": Format(fixture("run/settings.json"), either(mutation.json_text), runs.read_settings),
    "hdf5": Format(results.hdf5_files, either(results.changed_hdf5), results.read_hdf5),
    "npz": Format(results.projections, either(results.changed_npz, mutation.zip_fields), results.read_npz),
    "other latents": Format(
        results.other_latents, either(results.changed_other_latents), results.read_other_latents_file
    ),
    "directions": Format(results.directions, either(mutation.safetensors), results.read_directions_file),
    "entry": Format(results.entries, either(results.changed_entry), results.read_entry),
    "manifest": Format(results.manifests, either(mutation.json_text), results.read_manifest_file),
    "index": Format(results.indexes, either(mutation.json_lines), results.read_index_file),
    "old index": Format(
        fixture("projections/results.json"), either(results.changed_old_index), results.read_index_file
    ),
    "calibration": Format(results.calibrations, either(results.changed_calibration), results.read_calibration_file),
    "png": Format(images.pngs, either(mutation.png), images.read_image),
    "images": Format(images.other_images, mutation.bytes_of, images.read_image),
    "zip": Format(images.zips, either(mutation.zip_fields), images.read_zip),
    "idx": Format(images.idx_files, either(images.changed_idx), images.read_idx),
    "labels": Format(images.dataset_jsons, either(mutation.json_text), images.read_dataset_json),
}


def inputs(name: str, seed: int) -> Iterator[Callable[[], bytes]]:
    """Yield what makes input 0, 1, 2 ... of a format: each depends on the seed and its number alone."""
    one = FORMATS[name]
    seeds = one.seeds()
    number = 0
    while True:
        random = Random(f"{name} {seed} {number}")
        yield lambda random=random: one.mutate(random, random.choice(seeds))  # type: ignore[misc]
        number += 1
