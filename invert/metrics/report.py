"""Results of measurements as tables, and as one HTML page with their plots."""

import json
import os
from collections.abc import Iterator, Sequence

import numpy as np

from invert.errors import display_path
from invert.metrics.result import Measured
from invert.metrics.table import metric_of
from invert.report.page import Block, Figure, Paragraph, Section, Table, render_page

__all__ = ["comparison", "figures_of", "metrics_page"]

_SIX = 6
"""Path lengths of so many networks are plotted side by side."""


def figures_of(measured: Measured) -> dict[str, float | None]:
    """Return the figures of a result that tables show, by their headings."""
    shown = metric_of(measured.metric).shown or tuple(measured.values)
    if shown == (measured.main,):
        return {measured.metric: measured.value}
    return {f"{measured.metric} {name.replace('_', ' ')}": measured.values.get(name) for name in shown}


def comparison(results: Sequence[Measured]) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of one table: a row for each subject, its figures side by side."""
    found: dict[str, dict[str, float | None]] = {}
    for one in results:
        found.setdefault(os.fspath(one.path), {}).update(figures_of(one))
    columns = list(dict.fromkeys(name for row in found.values() for name in row))
    rows = [[display_path(path), *(_number(row.get(name)) for name in columns)] for path, row in found.items()]
    return ["network or images", *columns], rows


def metrics_page(results: Sequence[Measured]) -> bytes:
    """Return the HTML page of results: the table, plots, and the protocol of each figure.

    Args:
        results: At least one.
    """
    header, rows = comparison(results)
    sections = [
        Section("Figures", [Table(rows, header), *_notes(results)]),
        *_path_lengths([one for one in results if "distances" in one.arrays]),
        *_spectra([one for one in results if "spectra" in one.arrays]),
        Section("Protocols", list(_protocols(results))),
    ]
    subjects = len(rows)
    lead = f"{len(results)} results of {subjects} network{'s'[: subjects != 1]} or data set{'s'[: subjects != 1]}"
    return render_page("Metrics", sections, lead=lead)


def _notes(results: Sequence[Measured]) -> Iterator[Block]:
    rows = {}
    for one in results:
        metric = metric_of(one.metric)
        better = f"{metric.better} is better" if metric.better else "neither high nor low is better by itself"
        rows[one.metric] = [one.metric, metric.title, better]
    yield Table(list(rows.values()), ["metric", "what it is", "how to read it"])
    yield Paragraph("Figures are comparable where their protocols are the same, numbers of images included.")


def _path_lengths(results: Sequence[Measured]) -> Iterator[Section]:
    from invert.report.histograms import plot_panels

    blocks: list[Block] = []
    for metric in dict.fromkeys(one.metric for one in results):
        mine = [one for one in results if one.metric == metric][:_SIX]
        populations = {_short(one): one.arrays["distances"] for one in mine}
        data = plot_panels([(metric, populations)], x_label="path length of a pair", log=True)
        alt = "; ".join(f"{name}: median {np.median(values):.4g}" for name, values in populations.items())
        blocks.append(Figure(data, f"Histograms of path lengths. {alt}.", f"{metric}: the distances of single pairs."))
    if blocks:
        yield Section("Path lengths", blocks)


def _spectra(results: Sequence[Measured]) -> Iterator[Section]:
    from invert.report.curves import Curve, plot_curves

    if not results:
        return
    curves = []
    for one in results:
        spectra = one.arrays["spectra"]
        mean = (spectra / spectra[:, :1]).mean(axis=0)
        curves.append(Curve(_short(one), range(1, len(mean) + 1), mean.tolist()))
    label = "singular value / largest"
    plot = plot_curves(curves, x_label="number of the singular value", y_label=label, log=True)
    caption = "Mean spectra of dG/dw, each divided by its largest value: Karras et al. 2020, figure 17."
    alt = "; ".join(f"{curve.label} ends at {curve.y[-1]:.3g}" for curve in curves)
    yield Section("Singular values", [Figure(plot.light, f"{caption} {alt}.", caption, plot.dark)])


def _protocols(results: Sequence[Measured]) -> Iterator[Block]:
    for one in results:
        rows = [(name, "none" if value is None else f"{value:.8g}") for name, value in one.values.items()]
        rows += [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in one.protocol.items()]
        yield Table(rows, caption=f"{one.metric} of {display_path(one.path)}")


def _short(measured: Measured) -> str:
    return os.path.splitext(os.path.basename(os.fspath(measured.path)))[0]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
