"""`invert attribute`: say of pictures whether a network drew them, and with which error rate."""

import dataclasses
import os
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from invert import options
from invert.batch.pictures import Listed, list_pictures
from invert.commands.attribute_run import Judge
from invert.config import PRESETS, with_defaults
from invert.errors import NoInputError, UsageError, display_path
from invert.images import ImagePolicy
from invert.output import Output

if TYPE_CHECKING:
    from invert.attribution.candidate import Candidate

__all__ = ["attribute"]

_BATCH = 16


@click.command(short_help="Say whether a network drew pictures.")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--network",
    "network_paths",
    multiple=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A network that may have drawn them; may be given several times.",
)
@click.option(
    "--calibration",
    "calibration_paths",
    multiple=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Of a network, by 'invert calibrate'.  [default: looked up beside the network, in the cache, in data/]",
)
@click.option("--threshold", type=float, metavar="D", help="The paper's plain rule: LPIPS below D. Error rate unknown.")
@click.option(
    "--fpr", "rate", type=float, metavar="P", help="Rate of false attributions.  [default: the calibration's]"
)
@click.option("--report", metavar="FILE.html", type=click.Path(dir_okay=False, path_type=Path), help="Write a report.")
@click.option("--csv", "as_csv", is_flag=True, help="Write CSV to stdout.")
@click.option("--preset", type=click.Choice(list(PRESETS)), help="[default: the calibration's, or verdict]")
@click.option("--steps", type=int, metavar="N", help="[default: the calibration's]")
@click.option("--lpips", type=click.Choice(["vgg", "alex"]), help="[default: the calibration's]")
@click.option("--restarts", type=int, metavar="R", help="[default: the calibration's]")
@click.option("--bank", type=int, metavar="N", help="[default: the calibration's]")
@options.class_index
@click.option("--seed", default=0, show_default=True, metavar="N", help="Of the random numbers of each picture.")
@click.option("--batch", type=int, metavar="N", help="Pictures optimised together.  [default: at most 16]")
@click.option("--threads", type=int, metavar="N", help="CPU threads.")
@click.option("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]))
@click.option("--max-pixels", type=click.IntRange(min=1), metavar="N", help="Refuse larger pictures.")
@click.option("--follow", is_flag=True, help="Follow links that lead out of the folders named.")
@options.as_json
@options.quiet
@options.overwrite
def attribute(
    paths: Sequence[Path],
    network_paths: Sequence[Path],
    calibration_paths: Sequence[Path],
    threshold: float | None,
    rate: float | None,
    report: Path | None,
    as_csv: bool,
    seed: int,
    batch: int | None,
    threads: int | None,
    device: str,
    max_pixels: int | None,
    follow: bool,
    as_json: bool,
    quiet: bool,
    overwrite: bool,
    **given: Any,
) -> int:
    """Say of each picture whether it is attributed to a network, to none of these, or whether it cannot be told.

    The error rate of a verdict is that of the network's calibration, for pictures like those it was made with.
    Settings come from there; a calibration of another method or network is refused.
    """
    _check(threshold, rate, as_csv, as_json, report, overwrite)
    policy = ImagePolicy() if max_pixels is None else ImagePolicy(max_pixels=max_pixels)
    with Output(as_json=as_json, quiet=quiet or as_csv) as output:
        listed = _list(paths, follow, output)
        networks = list(network_paths) or [options.network_or_default(None, output)]
        names = _names(networks)
        settings = {"seed": seed, "threads": threads}
        opened = _Opening(policy, given, settings, batch, options.device_kind(device), output)
        candidates = [
            opened.open(name, path, calibration_paths, len(listed)) for name, path in zip(names, networks, strict=True)
        ]
        missing = [candidate for candidate in candidates if candidate.calibration is None]
        if missing and len(candidates) > 1 and threshold is None:
            raise UsageError(
                f"{len(candidates)} networks are compared by their calibrations, and {missing[0].name} has none",
                path=missing[0].path,
                advice=_calibrate_command(missing[0]),
                code="no-calibration",
            )
        if missing and threshold is None:
            output.warning(
                f"there is no calibration of {missing[0].name}: distances only. {_calibrate_command(missing[0])}"
            )
        judge = Judge(candidates, threshold, rate, opened.batch, policy, output, as_csv, report is not None)
        return judge.work(listed, report)


def _check(
    threshold: float | None, rate: float | None, as_csv: bool, as_json: bool, report: Path | None, overwrite: bool
) -> None:
    if as_csv and as_json:
        raise UsageError("--csv and --json cannot both be written to stdout")
    if threshold is not None and not 0 < threshold < 100:
        raise UsageError(f"--threshold {threshold} is no distance")
    if rate is not None and not 0 < rate < 1:
        raise UsageError(f"--fpr {rate} is not between 0 and 1")
    if report is not None and report.exists() and not overwrite:
        raise UsageError("exists already", path=report, advice="Add --overwrite, or choose another --report.")


def _list(paths: Sequence[Path], follow: bool, output: Output) -> list[Listed]:
    found = []
    for listed in list_pictures(paths, follow):
        if listed.error is not None and listed.error.by_rule:
            output.warning(str(listed.error))
        else:
            found.append(listed)
    if not found:
        advice = "Name picture files, or a folder with PNG, JPEG, WebP or BMP files."
        raise NoInputError("there are no pictures", path=paths[0] if len(paths) == 1 else None, advice=advice)
    return found


def _names(networks: Sequence[Path]) -> list[str]:
    """Return what the networks are called: their files' stems, numbered where they are alike."""
    stems = [path.stem for path in networks]
    counts = Counter(stems)
    return [stem if counts[stem] == 1 else f"{stem} ({number})" for number, stem in enumerate(stems, 1)]


def _calibrate_command(candidate: "Candidate") -> str:
    from invert.bank import bank_size

    command = ["invert", "calibrate", "--network", os.fspath(candidate.path), "--real", "DIR", "--other", "DIR"]
    usual = with_defaults({"preset": candidate.config.preset}) | {"preset": "verdict", "lpips": "vgg", "restarts": 1}
    for name, value in usual.items():
        if getattr(candidate.config, name) != value:
            command += [f"--{name}", str(getattr(candidate.config, name))]
    if candidate.config.starts_from_bank and candidate.config.bank != bank_size(candidate.resolution):
        command += ["--bank", str(candidate.config.bank)]
    if candidate.config.class_index is not None:
        command += ["--class", str(candidate.config.class_index)]
    return f"Make one with: {display_path(shlex.join(command))}"


class _Opening:
    """Load networks with their calibrations and settings."""

    def __init__(
        self,
        policy: ImagePolicy,
        given: dict[str, Any],
        settings: dict[str, Any],
        batch: int | None,
        device: str,
        output: Output,
    ) -> None:
        self._policy, self._given, self._settings = policy, given, settings
        self._device, self._output = device, output
        self.batch = batch or 0

    def open(self, name: str, path: Path, calibration_paths: Sequence[Path], pictures: int) -> "Candidate":
        """Return a network that can be asked."""
        from invert.attribution.calibration_file import find_calibration
        from invert.attribution.candidate import Candidate, settings_for
        from invert.projection import default_batch, prepare_process

        prepare_process(self._device, self._settings["threads"], self._output.note)
        loaded = options.load_network(path, self._output)
        found = find_calibration(path, loaded.provenance.sha256, calibration_paths)
        if found is None and calibration_paths:
            reason = f"none of the calibrations given is of the network '{display_path(path)}'"
            raise UsageError(reason, advice="They belong to a network by its sha256.", code="calibration-network")
        calibration_path, calibration = found or (None, None)
        given = {key: value for key, value in self._given.items() if value is not None}
        if calibration is None:
            given = with_defaults({"preset": "verdict", **given})
        elif given.get("preset", calibration.method["preset"]) != calibration.method["preset"]:
            given = with_defaults(given)
        given |= {"device": self._device, **self._settings}
        config, method = settings_for(loaded, self._policy, given, calibration, calibration_path)
        resolution = loaded.generator.config.synthesis.img_resolution
        options.check_class(loaded.generator.config.mapping.c_dim, config.class_index, required=False)
        self.batch = self.batch or min(pictures, 2 * default_batch(_BATCH, resolution, self._device))
        config = dataclasses.replace(config, batch=self.batch)
        return Candidate(
            name,
            path,
            loaded,
            config,
            method,
            batch=self.batch,
            device=self._device,
            calibration=calibration,
            calibration_path=calibration_path,
            on_message=self._output.note,
        )
