"""Plots of scores and metrics, as PNG files 1200 px wide.

Colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart; lines also
differ in their dashes. If drawing fails, no partial file is left. The module does not use pyplot,
whose state is shared between threads and with notebooks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    MaxNLocator,
    MultipleLocator,
    PercentFormatter,
)
from numpy.typing import NDArray
from sklearn.metrics import auc as area
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve

from vad.errors import UsageError
from vad.files import committed
from vad.stages.train.metrics.figures import Confusion, SweepRow

from ..curves import steps, tick_step
from ..times import clock

WIDTH_PX = 1200
DPI = 150  # a font of 10 points is then 21 px high
MOST_POINTS = 2 * WIDTH_PX  # of a score curve; more cannot be seen

BLUE, VERMILLION, GREEN, PURPLE, ORANGE = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"
SERIES = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE)
# one fewer than the colours, so that 20 pairs of colour and dashes differ
DASHES = ("-", "--", "-.", ":")
INK, PALE = "#333333", "#8A8A8A"

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]


def plot_curve(
    path: Path,
    times_s: Floats,
    scores: Floats,
    *,
    title: str,
    threshold: float | None = None,
    truth: Sequence[tuple[float, float]] | None = None,
) -> None:
    """Draw the score of a video over time, with the threshold and the truth if they are given.

    times_s [frames] are presentation times in seconds; scores is [frames]; truth lists the
    anomalous intervals, [start, end) in seconds. Raises UsageError if there are no scores, or
    another number of times.
    """
    if len(times_s) != len(scores) or len(scores) == 0:
        raise UsageError(
            f"a curve needs a time for every score, got {len(times_s)} and {len(scores)}"
        )
    last_s = times_s[-1] + (times_s[-1] - times_s[-2] if len(times_s) > 1 else 1)
    starts, values = steps(np.asarray(scores, float), MOST_POINTS)
    times_s, scores = np.append(times_s[starts], last_s), np.append(values, values[-1])
    figure, axes = _figure(title, height_px=450)
    for index, (start_s, end_s) in enumerate(truth or ()):
        label = "anomalous (truth)" if index == 0 else None
        axes.axvspan(start_s, end_s, color=ORANGE, alpha=0.28, lw=0, label=label)
    axes.fill_between(times_s, scores, step="post", color=BLUE, alpha=0.15, lw=0)
    line_width = 1.6 if len(starts) < WIDTH_PX / 4 else 0.8
    axes.step(times_s, scores, where="post", color=BLUE, lw=line_width, label="score")
    if threshold is not None:
        above = np.maximum(scores, threshold)
        axes.fill_between(times_s, threshold, above, step="post", color=VERMILLION, alpha=0.6, lw=0)
        label = f"threshold {threshold:.3g}"
        axes.axhline(threshold, color=VERMILLION, ls="--", lw=1.2, label=label)
    axes.set(ylabel="anomaly score", ylim=(0, 1.02), xlim=(times_s[0], times_s[-1]))
    _time_axis(axes)
    axes.legend(loc="upper right", bbox_to_anchor=(1.0, -0.1), ncols=3, frameon=False, fontsize=9)
    _save(figure, path)


def plot_roc(
    path: Path, truth: Bools, scores: Mapping[str, Floats], *, title: str = "ROC, all frames"
) -> None:
    """Draw a ROC curve for every result (Fawcett, 2006).

    truth is [frames]; scores [frames] are given by the name of the result. Raises UsageError if all
    frames are of one class.
    """
    _both_classes(truth)
    figure, axes = _figure(title, height_px=800)
    axes.plot([0, 1], [0, 1], color=PALE, lw=1, ls=(0, (2, 3)), label="AUC 0.500  chance")
    for (name, values), (color, dash) in zip(scores.items(), _styles(), strict=False):
        false_alarms, found, _ = roc_curve(truth, values)
        label = f"AUC {area(false_alarms, found):.3f}  {_plain(name, 22)}"
        axes.plot(false_alarms, found, color=color, ls=dash, lw=2, label=label)
    axes.set(xlabel="normal frames flagged (%)", ylabel="anomalous frames flagged (%)")
    _unit_square(axes)
    _legend(axes)
    _save(figure, path)


def plot_pr(
    path: Path,
    truth: Bools,
    scores: Mapping[str, Floats],
    *,
    title: str = "Precision and recall, all frames",
) -> None:
    """Draw a precision-recall curve for every result, with the steps that AP sums.

    truth is [frames]; scores [frames] are given by the name of the result. Raises UsageError if all
    frames are of one class.
    """
    _both_classes(truth)
    figure, axes = _figure(title, height_px=800)
    share = float(np.mean(truth))
    axes.axhline(share, color=PALE, lw=1, ls=(0, (2, 3)), label=f"AP {share:.3f}  chance")
    for (name, values), (color, dash) in zip(scores.items(), _styles(), strict=False):
        precision, recall, _ = precision_recall_curve(truth, values)
        label = f"AP {average_precision_score(truth, values):.3f}  {_plain(name, 22)}"
        axes.step(recall, precision, where="post", color=color, ls=dash, lw=2, label=label)
    axes.set(
        xlabel="recall: anomalous frames flagged (%)", ylabel="precision: flags that are right (%)"
    )
    _unit_square(axes)
    _legend(axes)
    _save(figure, path)


def plot_score_distribution(
    path: Path,
    truth: Bools,
    scores: Floats,
    *,
    title: str = "Scores of normal and anomalous frames",
    threshold: float | None = None,
) -> None:
    """Draw histograms of the scores of normal and of anomalous frames.

    truth and scores are [frames].
    """
    figure, axes = _figure(title, height_px=500)
    highest = max(float(np.max(scores)), threshold or 0.0)
    edges = np.linspace(0, 1 if highest > 0.5 else highest * 1.1 or 1, 41)
    kinds = (("normal frames", ~truth, BLUE, "-"), ("anomalous frames", truth, VERMILLION, "--"))
    for name, chosen, color, dash in kinds:
        if not chosen.any():
            continue
        shares = np.histogram(scores[chosen], edges)[0] / chosen.sum()
        label = f"{name} ({chosen.sum():,})"
        axes.stairs(shares, edges, fill=True, color=color, alpha=0.25, lw=0)
        axes.stairs(shares, edges, color=color, ls=dash, lw=1.8, label=label)
    if threshold is not None:
        axes.axvline(threshold, color=INK, ls=":", lw=1.5, label=f"threshold {threshold:.3g}")
    axes.set(xlabel="anomaly score", ylabel="share of that kind (%)", xlim=(0, edges[-1]))
    # most normal frames are in one bin; the scale also shows the others
    axes.set_yscale("symlog", linthresh=0.01)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_locator(FixedLocator([0, 0.01, 0.03, 0.1, 0.3, 1]))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
    _legend(axes)
    _save(figure, path)


def plot_thresholds(
    path: Path,
    sweep: Sequence[SweepRow],
    *,
    title: str = "What every threshold would give",
    threshold: float | None = None,
) -> None:
    """Draw precision, recall, F1 and false-alarm rate by threshold.

    `threshold` is that of the run. Raises UsageError if the sweep is empty.
    """
    if not sweep:
        raise UsageError("the sweep of thresholds is empty: there is nothing to draw")
    figure, axes = _figure(title, height_px=560)
    levels = np.array([row.threshold for row in sweep], float)
    shown = (
        ("precision", "precision"),
        ("recall", "recall"),
        ("f1", "F1"),
        ("false_alarm_rate", "false alarms, normal videos"),
    )
    for (key, label), (color, dash) in zip(shown, _styles(), strict=False):
        values = np.array([getattr(row, key) for row in sweep], float)  # None becomes a gap
        axes.plot(levels, values, color=color, ls=dash, lw=1.8, label=label)
    if threshold is not None:
        label = f"threshold {threshold:.3g}"
        axes.axvline(threshold, color=INK, ls=":", lw=1.5, label=label)
    highest = max(levels.max(), threshold or 0.0)
    axes.set(xlabel="threshold", ylabel="frames (%)", ylim=(-0.01, 1.02))
    axes.set_xlim(0, 1 if highest > 0.5 else highest * 1.1 or 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    _legend(axes)
    _save(figure, path)


def plot_categories(
    path: Path,
    figures: Mapping[str, Mapping[str, float | None]],
    *,
    title: str = "AUC by kind of anomaly, with all normal videos",
) -> None:
    """Draw a bar for every category and result.

    figures has a number from 0 to 1, or None, by result and category. Raises UsageError if there
    are no categories.
    """
    kinds = list(dict.fromkeys(kind for of_run in figures.values() for kind in of_run))
    if not kinds:
        raise UsageError("there are no kinds of anomaly to draw")
    figure, axes = _figure(title, height_px=160 + (18 * len(figures) + 16) * len(kinds))
    places = np.arange(len(kinds), dtype=float)
    height = 0.8 / len(figures)
    for index, ((name, of_run), (color, _)) in enumerate(
        zip(figures.items(), _styles(), strict=False)
    ):
        values = np.array([of_run.get(kind) for kind in kinds], float)
        offset = (index - (len(figures) - 1) / 2) * height
        bars = axes.barh(places + offset, np.nan_to_num(values), height * 0.9, color=color)
        bars.set_label(_plain(name, 30))
        for place, value in zip(places + offset, values, strict=True):
            text = "none" if np.isnan(value) else f"{value:.2f}"
            shift = 0.0 if np.isnan(value) else value
            axes.text(shift + 0.01, place, text, va="center", color=INK, fontsize=8)
    axes.set_yticks(places, [_plain(kind, 40) for kind in kinds])
    axes.set(xlim=(0, 1.08), xlabel="AUC", ylim=(len(kinds) - 0.4, -0.6))
    axes.axvline(0.5, color=PALE, lw=1, ls=(0, (2, 3)))
    axes.grid(axis="y", visible=False)
    if len(figures) > 1:
        _legend(axes)
    _save(figure, path)


def plot_confusion(
    path: Path, counts: Confusion, *, title: str = "Frames by truth and flag"
) -> None:
    """Draw a confusion matrix, with counts and shares of each row."""
    table = np.array([[counts.tn, counts.fp], [counts.fn, counts.tp]], float)
    shares = table / np.maximum(table.sum(1, keepdims=True), 1)
    figure, axes = _figure(title, height_px=600)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.25)
    for (row, column), share in np.ndenumerate(shares):
        text = f"{int(table[row, column]):,}\n{share:.1%}"
        color = "white" if share > 0.6 else INK
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=14)
    axes.set_xticks([0, 1], ["not flagged", "flagged"])
    axes.set_yticks([0, 1], ["normal", "anomalous"])
    axes.set(xlabel="by its score", ylabel="by the truth")
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    _save(figure, path)


def plot_training(
    path: Path,
    history: Sequence[Mapping[str, float | None]],
    *,
    title: str = "Training",
    chosen_epoch: int | None = None,
) -> None:
    """Draw the losses of a training by epoch, and below them its other metrics, such as AUC.

    history has a row per epoch: "epoch", and metrics by their names. Metrics with "loss" in their
    names are losses. Raises UsageError if history is empty.
    """
    if not history:
        raise UsageError("the training history is empty: there is nothing to draw")
    epochs = np.array([row["epoch"] for row in history], float)
    names = [name for name in dict.fromkeys(n for row in history for n in row) if name != "epoch"]
    panels = [
        ("loss", [name for name in names if "loss" in name]),
        ("figure on validation", [name for name in names if "loss" not in name]),
    ]
    panels = [panel for panel in panels if panel[1]]
    figure, _ = _figure(title, height_px=360 * len(panels) + 60, rows=len(panels))
    for axes, (ylabel, shown) in zip(figure.axes, panels, strict=True):
        for name, (color, dash) in zip(shown, _styles(), strict=False):
            values = np.array([row.get(name) for row in history], float)  # None becomes a gap
            axes.plot(epochs, values, color=color, ls=dash, lw=1.8, label=_plain(name, 30))
        if chosen_epoch is not None:
            label = f"chosen: epoch {chosen_epoch}"
            axes.axvline(chosen_epoch, color=INK, ls=":", lw=1.5, label=label)
        axes.set(ylabel=ylabel)
        axes.margins(x=0.02)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _legend(axes)
    figure.axes[-1].set_xlabel("epoch")
    _save(figure, path)


def _figure(title: str, *, height_px: int, rows: int = 1) -> tuple[Figure, Axes]:
    """Return an empty figure with `rows` axes in plain style, and the first of the axes."""
    figure = Figure(figsize=(WIDTH_PX / DPI, height_px / DPI), dpi=DPI, layout="constrained")
    for axes in np.atleast_1d(figure.subplots(rows, 1, sharex=True)):
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[:].set_color(PALE)
        axes.tick_params(color=PALE, labelcolor=INK)
        axes.grid(color="#E6E6E6", lw=0.8)
        axes.set_axisbelow(True)
    first = figure.axes[0]
    # without y, matplotlib looks for ticks above the axes, which takes a fifth of the time
    first.set_title(_plain(title, 70), loc="left", y=1, fontsize=11, color=INK)
    return figure, first


def _save(figure: Figure, path: Path) -> None:
    canvas = FigureCanvasAgg(figure)  # `figure.savefig` would draw everything twice
    with committed(path) as part:
        canvas.print_png(part, metadata={"Software": None})


def _plain(text: str, longest: int) -> str:
    """Return a name as text that can be drawn: one line, shortened in the middle to `longest`
    characters, without formulas and without characters that the font lacks.
    """
    line = " ".join(text.split())
    if len(line) > longest:
        line = f"{line[: longest // 2 - 1]}…{line[-(longest // 2) :]}"
    font = get_font(findfont("DejaVu Sans"))
    drawable = "".join(c if font.get_char_index(ord(c)) else "\N{WHITE SQUARE}" for c in line)
    return drawable.replace("$", r"\$")


def _legend(axes: Axes) -> None:
    """Put the legend to the right of the axes, where it covers no curve."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=9)


def _styles() -> Iterator[tuple[str, str]]:
    return zip(cycle(SERIES), cycle(DASHES), strict=True)


def _unit_square(axes: Axes) -> None:
    axes.set(xlim=(-0.005, 1.005), ylim=(-0.005, 1.005), aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, symbol=""))


def _time_axis(axes: Axes) -> None:
    """Label the time axis with at most twelve round times, such as 0:05, 12:30 or 1:02:00."""
    start_s, end_s = axes.get_xlim()
    step_s = tick_step(end_s - start_s, 12)
    axes.set_xlabel("time (min:s)" if end_s < 3600 else "time (h:min:s)", loc="left")
    axes.xaxis.set_major_locator(MultipleLocator(step_s))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda time_s, _: clock(time_s, step_s)))


def _both_classes(truth: Bools) -> None:
    if truth.all() or not truth.any():
        only = "normal" if not truth.any() else "anomalous"
        raise UsageError(f"all {len(truth)} frames are {only}: a curve needs some of both")
