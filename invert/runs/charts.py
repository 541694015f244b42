"""The curves of a training run and the shares of its resolutions, as blocks of a page.

Reference: Karras et al. 2020, figure 8 (shares of the resolutions).
"""

from collections.abc import Iterator, Mapping, Sequence

from invert.metrics.table import metric_of
from invert.report.page import Block, Figure, Gallery, Paragraph, Table
from invert.runs.history import Tick
from invert.runs.snapshots import BEST, Snapshot, best_of

__all__ = [
    "augment_blocks",
    "growth_blocks",
    "kimg",
    "loss_blocks",
    "metric_blocks",
    "score_blocks",
    "share_blocks",
]

_KIMG = "kimg (thousands of images seen)"


def kimg(tick: Tick) -> str:
    """Return how many thousand images were seen, as text."""
    return f"{tick.images / 1000:,.0f}" if tick.images >= 100_000 else f"{tick.images / 1000:.4g}"


def loss_blocks(ticks: Sequence[Tick]) -> Iterator[Block]:
    """Show the losses, the penalties and the average path length."""
    wgan = any("gradient_penalty" in tick.measures for tick in ticks)
    relativistic = any("r2" in tick.measures for tick in ticks)
    meaning = (
        "A critic that cannot tell real from generated images has the loss 0; the generator's loss has no such level."
        if wgan
        else "A discriminator that cannot tell the images of a pair apart has the loss ln 2 = 0.69, and so has the"
        " generator then."
        if relativistic
        else "A discriminator that cannot tell real from generated images has the loss 2 ln 2 = 1.39 and leaves the"
        " generator ln 2 = 0.69."
    )
    yield Paragraph(f"Each point is the mean over a tick. {meaning} A wide range is plotted on a logarithmic scale.")
    words = "WGAN losses." if wgan else "Relativistic losses." if relativistic else "Non-saturating logistic losses."
    adversarial = {"generator": "generator", "discriminator": "discriminator"}
    figures = [
        _curves(ticks, adversarial, "loss", words),
        _curves(ticks, {"gradient_penalty": "penalty"}, "gradient penalty", "Gradient penalty, before its weight."),
        _curves(ticks, {"r1": "R1"}, "R1 penalty", "R1 penalty, gamma / 2 times |grad D|² on real images.", log=True),
        _curves(ticks, {"r2": "R2"}, "R2 penalty", "R2 penalty, the same on generated images.", log=True),
        _curves(
            ticks,
            {"path_length": "path length"},
            "path length penalty",
            "Path length penalty (|Jᵀy| - a)², before its weight.",
            log=True,
        ),
        _curves(ticks, {"path_length_average": "a"}, "average a", "Running average a of the path length |Jᵀy|."),
    ]
    plotted = [figure for figure in figures if figure is not None]
    yield Gallery(plotted) if plotted else Paragraph("The log has none.")


def growth_blocks(ticks: Sequence[Tick]) -> Iterator[Block]:
    """Show when each resolution began and was whole; nothing for a network that does not grow."""
    first: dict[int, Tick] = {}
    whole: dict[int, Tick] = {}
    for tick in ticks:
        resolution, alpha = tick.measures.get("resolution"), tick.measures.get("alpha")
        if resolution is None or alpha is None or not 4 <= resolution < 1e5:
            continue
        first.setdefault(int(resolution), tick)
        if alpha == 1:
            whole.setdefault(int(resolution), tick)
    if not first:
        return
    yield Paragraph("Progressive growing: the first tick at each resolution, and the first with its layers faded in.")
    rows = [[f"{r} px", kimg(tick), kimg(whole[r]) if r in whole else "not yet"] for r, tick in sorted(first.items())]
    yield Table(rows, ["resolution", "fading in from, kimg", "whole from, kimg"])
    figure = _curves(ticks, {"alpha": "alpha"}, "alpha", "Share of the newest layers in the image.")
    if figure is not None:
        yield figure


def augment_blocks(ticks: Sequence[Tick], target: object) -> Iterator[Block]:
    """Show how likely augmentation was, and what moved it; nothing for a run without.

    Args:
        ticks: The ticks of the run.
        target: What the mean sign aims at, as the settings have it.
    """
    p = _curves(ticks, {"augment_p": "p"}, "p", "Probability of each transform.")
    if p is None:
        return
    yield Paragraph(
        "Probability p of each transform of what the discriminator sees. Adaptive augmentation raises it while the mean"
        " sign of the discriminator's output for training images is above its target, which says that it knows them by"
        " heart, and lowers it while it is below."
    )
    level = float(target) if isinstance(target, int | float) else None
    sign = _curves(ticks, {"real_sign": "sign"}, "mean sign", "Mean sign for training images.", level=level)
    yield Gallery([p] if sign is None else [p, sign])


def score_blocks(ticks: Sequence[Tick]) -> Iterator[Block]:
    """Show what the discriminator thinks of real and of generated images."""
    yield Paragraph(
        "Mean output of the discriminator before the sigmoid, above 0 where it believes an image real. Drifting apart"
        " says that it wins; together at 0, that it cannot tell."
    )
    names = {"real": "real images", "fake": "generated images"}
    figure = _curves(ticks, names, "score", "Scores of real and generated images.", level=0)
    yield Paragraph("The log has none.") if figure is None else figure


def _curves(
    ticks: Sequence[Tick],
    names: Mapping[str, str],
    y_label: str,
    caption: str,
    *,
    log: bool = False,
    level: float | None = None,
) -> Figure | None:
    from invert.report.curves import Curve, plot_curves

    curves, words = [], []
    for name, label in names.items():
        # A tick without the number (no regularised step fell into it) does not interrupt the line.
        points = [(tick.images / 1000, tick.measures[name]) for tick in ticks if name in tick.measures]
        if points:
            curves.append(Curve(label, *zip(*points, strict=True)))
            words.append(f"{label} from {points[0][1]:.3g} to {points[-1][1]:.3g}")
    if not curves:
        return None
    plot = plot_curves(curves, x_label=_KIMG, y_label=y_label, log=log, level=level)
    return Figure(plot.light, f"{caption} Curves over training: {'; '.join(words)}.", caption, plot.dark)


def metric_blocks(measured: Sequence[Snapshot]) -> Iterator[Block]:
    """Show what was measured of the snapshots; nothing where nothing was."""
    from invert.report.curves import Curve, plot_curves

    best = best_of(measured)
    if best is None:
        return
    value = best[0].value(best[1])
    yield Paragraph(
        f"The best snapshot by {best[1]}, {value:.4g}, is that of {best[0].images / 1000:.4g} kimg: {BEST} is a copy.",
        main=True,
    )
    figures = []
    for name in dict.fromkeys(name for one in measured for name in one.metrics):
        metric = metric_of(name)
        curves = []
        for figure in metric.shown:
            points = [
                (one.images / 1000, number)
                for one in measured
                if (number := one.metrics.get(name, {}).get(figure)) is not None
            ]
            if points:
                curves.append(Curve(figure, *zip(*points, strict=True)))
        if curves:
            plot = plot_curves(curves, x_label=_KIMG, y_label=name)
            caption = f"{name}: {metric.title}, {metric.better} is better." if metric.better else f"{name}."
            alt = "; ".join(f"{one.label} from {one.y[0]:.4g} to {one.y[-1]:.4g}" for one in curves)
            figures.append(Figure(plot.light, f"{caption} {alt}.", caption, plot.dark))
    if figures:
        yield Gallery(figures)


def share_blocks(snapshots: Sequence[Tick]) -> Iterator[Block]:
    """Show how much each resolution's tRGB adds to what the generator synthesises."""
    from invert.report.curves import plot_shares

    points = [(tick, tick.shares) for tick in snapshots if tick.shares is not None]
    if not points:
        yield Paragraph("The log has none: they are measured at snapshots, of networks with one tRGB per resolution.")
        return
    yield Paragraph(
        "How much the tRGB layer of each resolution adds to what the generator synthesises: its share in the sum of"
        " their standard deviations, as in figure 8 of Karras et al. 2020, Analyzing and Improving the Image Quality of"
        " StyleGAN. Training is expected to turn from low to high resolutions."
    )
    resolutions = sorted({resolution for _, shares in points for resolution in shares})
    if len(points) > 1:
        rows = {f"{r} px": [shares.get(r, 0.0) for _, shares in points] for r in resolutions}
        x = [tick.images / 1000 for tick, _ in points]
        plot = plot_shares(x, rows, x_label=_KIMG, y_label="share of the deviation")
        alt = "Stacked areas over training, one per resolution; the table has their ends."
        yield Figure(plot.light, alt, "Share of each resolution over training.", plot.dark)
    ends = [points[0], points[-1]][-len(points) :]
    header = ["resolution", *(f"{kimg(tick)} kimg" for tick, _ in ends)]
    cells = [[f"{r} px", *(f"{100 * shares.get(r, 0.0):.1f} %" for _, shares in ends)] for r in resolutions]
    yield Table(cells, header)
