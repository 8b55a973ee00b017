"""Tables of metrics for the terminal and for pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import StringIO
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vad.stages.train.metrics import Figures
from vad.stages.train.metrics.figures import CategoryFigures
from vad.terminal import plain

from .metrics import Metrics

RANKING = (("ROC-AUC", "auc"), ("AP", "ap"), ("PR-AUC", "pr_auc"))
DECISION = (
    ("F1", "f1"),
    ("macro-F1", "macro_f1"),
    ("accuracy", "accuracy"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("false alarms, normal videos", "false_alarm_rate"),
)
EVENTS = (
    *((f"{name}, IoU {iou}", f"iou_{iou}/{name}") for iou in (0.1, 0.3, 0.5) for name in
      ("precision", "recall")),
    ("detected", "detected"),
    ("delay, mean (s)", "delay_mean_s"),
    ("delay, median (s)", "delay_median_s"),
    ("false alarms per hour of normal video", "false_alarms_per_hour"),
)  # fmt: skip
YOUDEN = (
    ("threshold", "threshold"),
    ("recall", "recall"),
    ("false alarms, normal videos", "false_alarm_rate"),
    ("Youden's J", "youden"),
)
SECTIONS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    ("frames, all videos", "frame", RANKING),
    ("frames, abnormal videos only", "abnormal_only", RANKING),
    ("oracle that knows the video's label only", "oracle", RANKING),
    ("frames at the threshold of the run", "at_threshold", DECISION),
    ("frames at threshold 0.5", "at_0.5", DECISION),
    ("frames at the best threshold in hindsight", "youden", YOUDEN),
    ("events at the threshold of the run", "events", EVENTS),
    ("videos", "video", RANKING),
    ("videos at the threshold of the run", "video/at_threshold", DECISION),
    ("videos at threshold 0.5", "video/at_0.5", DECISION),
)


class Line(NamedTuple):
    """A line of a table of results; a heading has no values."""

    name: str
    values: list[str]
    heading: bool = False


def lines(results: Sequence[Metrics]) -> Iterator[Line]:
    """Yield the lines of a table that compares results.

    A value is `-` if undefined, and is followed by its 95 % interval if there is one.
    """
    for title, section, rows in SECTIONS:
        yield Line(title, [], heading=True)
        for name, key in rows:
            yield Line(name, [_value(result.figures, section, key) for result in results])
    kinds = dict.fromkeys(kind for result in results for kind in result.figures.categories or {})
    if kinds:
        title = "kinds of anomaly: AUC, AUC of own frames, recall, videos found"
        yield Line(title, [], heading=True)
        for kind in kinds:
            yield Line(kind, [_kind((r.figures.categories or {}).get(kind)) for r in results])
    yield Line("measured on", [], heading=True)
    yield Line("threshold", [_threshold(result.threshold) for result in results])
    yield Line("epoch and threshold selected on", [result.selected_on for result in results])
    counts = [result.figures.counts for result in results]
    yield Line("videos, abnormal", [f"{c.n_videos}, {c.n_abnormal_videos}" for c in counts])
    yield Line("frames, anomalous", [f"{c.n_frames:,}, {c.n_anomalous_frames:,}" for c in counts])
    yield Line("confusion of frames (tn fp fn tp)", [_confusion(r.figures) for r in results])
    yield Line("loss of these videos", [_number(result.loss) for result in results])
    yield Line("loss in training, at the epoch", [_train_loss(result) for result in results])


def tables(results: Sequence[Metrics]) -> Iterator[tuple[str, list[Line]]]:
    """Yield each heading with its lines: a small table for every section."""
    heading, rows = "", list[Line]()
    for line in lines(results):
        if not line.heading:
            rows.append(line)
            continue
        if rows:
            yield heading, rows
        heading, rows = line.name, []
    yield heading, rows


def metrics_table(results: Sequence[Metrics]) -> str:
    """Return a table of results for a terminal; the stamp of a result is shown below its name."""
    table = Table(box=None, pad_edge=False, show_edge=False)
    table.add_column("")
    stamped = any(result.stamp for result in results)
    for result in results:
        stamp = f"\n{result.stamp.upper()}" if stamped else ""
        table.add_column(Text(result.name + stamp), justify="right", overflow="fold")
    for line in lines(results):
        if line.heading:
            table.add_row(Text(line.name, style="bold"))
        else:
            table.add_row(f"  {line.name}", *map(Text, line.values))
    text = StringIO()
    Console(file=text, width=70 + 30 * len(results), highlight=False).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def worst_table(result: Metrics, n: int = 3) -> str:
    """Return the `n` worst false alarms and misses of a result, with their times, as text."""
    shown = []
    for title, moments in (
        ("worst false alarms", result.false_alarms),
        ("longest misses", result.misses),
    ):
        if moments:
            shown.append(title)
        for moment in moments[:n]:
            when = f"{moment.start_timecode} to {moment.end_timecode}"
            shown.append(f"  {when}  highest {moment.peak:.3f}  {moment.video}")
    return "\n".join(map(plain, shown))


def _value(figures: Figures, section: str, key: str) -> str:
    """Return the metric of a section as text, with its 95 % interval if it has one.

    Section and key together are its path in `metrics.json`. An undefined metric is `-`.
    """
    found = figures.value(f"{section}/{key}")
    if found is None:
        return "-"
    text = f"{found:.2f}" if key.endswith("_s") or key.endswith("hour") else f"{found:.4f}"
    ends = figures.intervals.get(f"{section}.{key}")
    return f"{text} [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else text


def _kind(found: CategoryFigures | None) -> str:
    if found is None:
        return "-"
    values = found.auc, found.abnormal_only_auc, found.recall, found.video_recall
    return " ".join("-" if value is None else f"{value:.3f}" for value in values)


def _threshold(value: float | list[float]) -> str:
    if isinstance(value, list):
        return f"{min(value):.4f} to {max(value):.4f}, by fold"
    return f"{value:.4f}"


def _confusion(figures: Figures) -> str:
    if figures.at_threshold is None:
        return "-"
    counts = figures.at_threshold.confusion
    return f"{counts.tn} {counts.fp} {counts.fn} {counts.tp}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _train_loss(result: Metrics) -> str:
    """Return the training loss at the chosen epoch as text; for several runs, the mean."""
    found = (run.get("train/loss/total") for run in result.training.values())
    losses = [loss for loss in found if loss is not None]
    return _number(sum(losses) / len(losses) if losses else None)
