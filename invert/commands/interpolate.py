"""`invert interpolate`: the way from one latent to another."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from invert.cli import options, sheets
from invert.cli.output import Output
from invert.errors import UsageError, display_path
from invert.sheets.references import ProjectedLatent, Reference

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork
    from invert.projection.synthesis import KeptMaps
    from invert.sheets.interpolation import Easing, Frame, PathSpace
    from invert.sheets.sources import Source

__all__ = ["interpolate"]

_MAX_FRAMES = 100_000


@options.command(
    short_help="Show the way from one latent to another.",
    examples=(
        "invert interpolate --network ffhq.pkl --from 1 --to 5 --out way.png",
        "invert interpolate --network ffhq.pkl --keys 1,5,1 --steps 60 --video way.mp4",
    ),
)
@options.network(required=True)
@options.option("--from", "first", type=sheets.LATENT, metavar="LATENT", help="Latent at which the way begins.")
@options.option("--to", "last", type=sheets.LATENT, metavar="LATENT", help="Latent at which the way ends.")
@options.option(
    "--keys", type=sheets.LATENTS, metavar="LATENTS", help="Two or more latents to pass, in place of --from and --to."
)
@options.option(
    "--steps",
    default=11,
    show_default=True,
    type=click.IntRange(2, _MAX_FRAMES),
    metavar="K",
    help="Number of frames from each latent to the next, both included.",
)
@options.option(
    "--space",
    type=click.Choice(["z", "w"]),
    help="Space of the way: z along the sphere (slerp), w straight (lerp)."
    "  [default: z; w with projections, which have no z]",
)
@options.option(
    "--easing",
    default="linear",
    show_default=True,
    type=click.Choice(["linear", "smooth"]),
    help="Steps of the way: all alike, or small ones near the latents, so that a video rests at each.",
)
@sheets.out(required=False)
@options.option(
    "--frames",
    "folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to which every frame is written, at the network's size.",
)
@options.option(
    "--video",
    metavar="FILE.mp4",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Video of all frames, H.264; needs pip install 'invert[video]'.",
)
@sheets.rate
@sheets.synthesis
def interpolate(
    network_path: Path,
    first: Reference | None,
    last: Reference | None,
    keys: tuple[Reference, ...] | None,
    steps: int,
    space: "PathSpace | None",
    easing: "Easing",
    psi: float,
    cutoff: int | None,
    class_index: int | None,
    noise: str,
    scale: int | None,
    threads: int | None,
    device: str,
    out: Path | None,
    folder: Path | None,
    video: Path | None,
    rate: int,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Generate the images between latents: on a sheet (--out), one by one (--frames), as a video (--video).

    The way leads from --from to --to, or along all --keys (1,5,1 returns). The latents themselves look as 'invert
    generate' makes them. Between projections the noise maps change with w; otherwise all frames have the same noise,
    with --noise random that of the first latent.

    A LATENT is a seed (5) or a projection (photo.npz, latents.h5:3); LATENTS have commas between them.
    """
    passed = _keys(first, last, keys)
    space = _space(space, passed)
    count = (len(passed) - 1) * (steps - 1) + 1
    names = _frame_names(out, folder, video, count, overwrite)
    with Output(as_json=as_json, quiet=quiet) as output:
        loaded = sheets.load_for_sheet(network_path, cutoff, output, threads, device)
        scale = sheets.scale_for(loaded.generator, scale)
        side = loaded.generator.config.synthesis.img_resolution

        from invert.sheets.interpolation import Strip, maps_of_keys

        strip = Strip(len(passed) - 1, steps)
        if out is not None:
            strip.check_size(side, scale)
        sources = sheets.find(passed, loaded, class_index, output)
        progress = output.image_progress(count)
        synthesise = sheets.synthesiser(loaded.generator, noise, output, progress, psi, cutoff)
        maps = maps_of_keys(sources, loaded.generator, output.warning) if noise == "kept" else None
        with contextlib.ExitStack() as stack:
            show = sheets.film(stack, video, side, scale, rate)
            way = _Way(sources, steps, space, easing, maps)
            for number, frame in enumerate(_frames(way, loaded, class_index)):
                image = synthesise(frame.ws, frame.source)
                show(image)
                strip.add(frame, image)
                if names:
                    sheets.write_image(names[number], image)
                    record = {"segment": frame.segment, "t": frame.t, "path": str(names[number])}
                    output.event({"type": "image", "code": "generated", **record})
        for path in set(_earlier_frames(folder)) - set(names):
            path.unlink(missing_ok=True)  # of a longer way: they would go on with this one
        if out is not None:
            from invert.sheets.layout import lay_out_sheet

            sheets.write_image(out, lay_out_sheet([strip.grid([s.label for s in sources], space)], scale))
        written = {name: str(path) for name, path in (("out", out), ("folder", folder), ("video", video)) if path}
        labels = [source.label for source in sources]
        record = {"type": "summary", "code": "done", "frames": count, "keys": labels, "space": space, **written}
        output.result(record, f"generated {count} frames in {', '.join(map(display_path, written.values()))}")


def _keys(first: Reference | None, last: Reference | None, keys: tuple[Reference, ...] | None) -> tuple[Reference, ...]:
    if keys is None and first is not None and last is not None:
        return first, last
    if keys is None or first is not None or last is not None:
        raise UsageError("a way needs --from and --to, or --keys alone")
    if len(keys) < 2:
        raise UsageError("--keys names one latent, and a way needs two")
    return keys


def _space(given: "PathSpace | None", keys: Sequence[Reference]) -> "PathSpace":
    projection = next((key for key in keys if isinstance(key, ProjectedLatent)), None)
    if given == "z" and projection is not None:
        reason = "--space z: a projection is found in W and has no z"
        raise UsageError(reason, path=projection.path, advice="Use --space w.")
    return given or ("z" if projection is None else "w")


def _frame_names(out: Path | None, folder: Path | None, video: Path | None, count: int, overwrite: bool) -> list[Path]:
    """Check the files that will be written, and return the names of the frames."""
    if out is None and folder is None and video is None:
        advice = "Add --out FILE.png, --frames DIR or --video FILE.mp4."
        raise UsageError("no output was named", advice=advice)
    if count > _MAX_FRAMES:
        raise UsageError(f"{count} frames are more than {_MAX_FRAMES}", advice="Ask for fewer --steps.")
    names = [] if folder is None else [folder / f"frame{number:05d}.png" for number in range(count)]
    sheets.check_outputs([*_earlier_frames(folder), *names, *([out] if out else [])], ".png", overwrite)
    if video is not None:
        from invert.images.video import require_av

        sheets.check_outputs([video], ".mp4", overwrite)
        require_av()
    return names


def _earlier_frames(folder: Path | None) -> list[Path]:
    """Return the frames that a folder has."""
    return [] if folder is None else sorted(folder.glob("frame[0-9][0-9][0-9][0-9][0-9].png"))


class _Way(NamedTuple):
    """The arguments of `invert.sheets.interpolation.frames_between` that a user chooses."""

    keys: "Sequence[Source]"
    steps: int
    space: "PathSpace"
    easing: "Easing"
    maps: "Sequence[KeptMaps] | None"


def _frames(way: _Way, loaded: "LoadedNetwork", class_index: int | None) -> "Iterator[Frame]":
    import torch

    from invert.projection.latents import class_label
    from invert.sheets.interpolation import frames_between

    c = class_label(class_index, loaded.generator.config.mapping.c_dim)
    c = None if c is None else c.to(loaded.generator.mapping.w_avg.device)
    to_ws = torch.inference_mode()(lambda z: loaded.generator.mapping_ws(z, c))
    try:
        yield from frames_between(way.keys, way.steps, way.space, to_ws, maps=way.maps, easing=way.easing)
    except ValueError as error:
        raise UsageError(f"--space z: {error}", advice="Use --space w.") from error
