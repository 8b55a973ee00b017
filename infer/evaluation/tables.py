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
CLASSES = (("accuracy", "accuracy"), ("mean AUC", "mean_auc"))
MAP = (*((f"IoU {iou}", f"iou_{iou}") for iou in (0.1, 0.2, 0.3, 0.4, 0.5)), ("mean", "average"))
OPTIONAL = ("hard_normals", "classes")  # sections that are left out if no result has them
SECTIONS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    ("frames, all videos", "frame", RANKING),
    ("frames, abnormal videos only", "abnormal_only", RANKING),
    ("oracle that knows the video's label only", "oracle", RANKING),
    ("frames at the threshold of the run", "at_threshold", DECISION),
    ("frames at threshold 0.5", "at_0.5", DECISION),
    ("frames at the best threshold in hindsight", "youden", YOUDEN),
    ("events at the threshold of the run", "events", EVENTS),
    ("frames, normal videos of the sources of abnormal ones", "hard_normals", RANKING),
    ("kinds told: accuracy of videos, mean AUC", "classes", CLASSES),
    ("kinds told: mAP of events as published", "classes/map_published", MAP),
    ("kinds told: mAP of events, kinds of anomaly only", "classes/map_clean", MAP),
    ("videos", "video", RANKING),
    ("videos at the threshold of the run", "video/at_threshold", DECISION),
    ("videos at threshold 0.5", "video/at_0.5", DECISION),
)


KIND_COLUMNS = ("kind", "videos", "AUC", "AUC, its own frames", "recall", "videos found")
INTERVAL = "95 % interval"


class Cell(NamedTuple):
    """A metric as text, and its 95 % interval, which is empty if the metric has none."""

    value: str
    interval: str = ""


class Line(NamedTuple):
    """A line of a table of results for a terminal; a heading has no values."""

    name: str
    values: list[str]
    heading: bool = False


class PageTable(NamedTuple):
    """A table of a page."""

    title: str
    columns: list[str]
    rows: list[list[str]]


def lines(results: Sequence[Metrics]) -> Iterator[Line]:
    """Yield the lines of a table that compares results.

    A value is `-` if undefined, and is followed by its 95 % interval if there is one.
    """
    for title, section, rows in sections(results):
        yield Line(title, [], heading=True)
        for name, key in rows:
            cells = (_cell(result.figures, section, key) for result in results)
            yield Line(name, [" ".join(cell).rstrip() for cell in cells])
    if kinds := _kinds(results):
        title = "kinds of anomaly: AUC, AUC of own frames, recall, videos found"
        yield Line(title, [], heading=True)
        for kind in kinds:
            values = [_kind((r.figures.categories or {}).get(kind)) for r in results]
            yield Line(kind, [" ".join(of_kind[1:]) if of_kind else "-" for of_kind in values])
    yield Line("measured on", [], heading=True)
    for name, shown in _measured_on(results):
        yield Line(name, shown)
    yield Line("confusion of frames (tn fp fn tp)", [_confusion(r.figures) for r in results])


def sections(
    results: Sequence[Metrics],
) -> Iterator[tuple[str, str, tuple[tuple[str, str], ...]]]:
    """Yield the sections that a result has."""
    for title, section, rows in SECTIONS:
        name = section.partition("/")[0]
        if name not in OPTIONAL or any(getattr(r.figures, name) for r in results):
            yield title, section, rows


def tables(results: Sequence[Metrics]) -> Iterator[PageTable]:
    """Yield the tables of a page: a table for every section, with columns for every result."""
    names = [f"{r.name}, {r.stamp}" if r.stamp else r.name for r in results]
    for title, section, rows in sections(results):
        cells = {name: [_cell(r.figures, section, key) for r in results] for name, key in rows}
        if any(cell.interval for row in cells.values() for cell in row):
            columns = [column for name in names for column in (name, INTERVAL)]
            values = [
                [name, *(text for cell in row for text in cell)] for name, row in cells.items()
            ]
        else:
            columns = names
            values = [[name, *(cell.value for cell in row)] for name, row in cells.items()]
        yield PageTable(title, ["figure", *columns], values)
    for result, name in zip(results, names, strict=True):
        of = f", {name}" if len(results) > 1 else ""
        if at := result.figures.at_threshold:
            counts = at.confusion
            rows_of = [
                ["anomalous", f"{counts.tp:,}", f"{counts.fn:,}"],
                ["normal", f"{counts.fp:,}", f"{counts.tn:,}"],
            ]
            title = f"number of frames at the threshold of the run{of}"
            yield PageTable(title, ["truth", "flagged", "not flagged"], rows_of)
        if found := result.figures.categories:
            rows_of = [[kind, *_kind(figures)] for kind, figures in found.items()]
            yield PageTable(f"kinds of anomaly{of}", list(KIND_COLUMNS), rows_of)
    measured = [[name, *values] for name, values in _measured_on(results)]
    yield PageTable("measured on", ["figure", *names], measured)


def _measured_on(results: Sequence[Metrics]) -> Iterator[tuple[str, list[str]]]:
    """Yield the name and the values of each line about the data and the choices of a result."""
    yield "threshold", [_threshold(result.threshold) for result in results]
    yield "epoch and threshold selected on", [result.selected_on for result in results]
    counts = [result.figures.counts for result in results]
    yield "videos", [f"{c.n_videos:,}" for c in counts]
    yield "abnormal videos", [f"{c.n_abnormal_videos:,}" for c in counts]
    yield "frames", [f"{c.n_frames:,}" for c in counts]
    yield "anomalous frames", [f"{c.n_anomalous_frames:,}" for c in counts]
    yield "loss of these videos", [_number(result.loss) for result in results]
    yield "loss in training, at the epoch", [_train_loss(result) for result in results]


def metrics_table(results: Sequence[Metrics]) -> str:
    """Return a table of results for a terminal; the stamp of a result is shown below its name."""
    stamped = any(result.stamp for result in results)
    heads = [f"{r.name}\n{r.stamp.upper()}" if stamped else r.name for r in results]
    rows = [(x.name if x.heading else f"  {x.name}", x.values) for x in lines(results)]
    return table(heads, rows)


def table(heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Return a table for a terminal. A row is its name and its values; one without is a heading."""
    drawn = Table(box=None, pad_edge=False, show_edge=False)
    drawn.add_column("")
    for head in heads:
        drawn.add_column(Text(head), justify="right", overflow="fold")
    for name, values in rows:
        drawn.add_row(Text(name, style="" if values else "bold"), *map(Text, values))
    text = StringIO()
    Console(file=text, width=70 + 30 * len(heads), highlight=False).print(drawn)
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


def _cell(figures: Figures, section: str, key: str) -> Cell:
    """Return the metric of a section as text, with its 95 % interval if it has one.

    Section and key together are its path in `metrics.json`. An undefined metric is `-`.
    """
    found = figures.value(f"{section}/{key}")
    if found is None:
        return Cell("-")
    ends = figures.intervals.get(f"{section}.{key}")
    return Cell(shown(key, found), f"[{ends[0]:.3f}, {ends[1]:.3f}]" if ends else "")


def shown(key: str, value: float) -> str:
    """Return a metric as text: seconds and counts an hour to two digits, others to four."""
    return f"{value:.2f}" if key.endswith("_s") or key.endswith("hour") else f"{value:.4f}"


def _kinds(results: Sequence[Metrics]) -> list[str]:
    """Return the kinds of anomaly of all results."""
    found = (kind for result in results for kind in result.figures.categories or {})
    return list(dict.fromkeys(found))


def _kind(found: CategoryFigures | None) -> list[str]:
    """Return the values of `KIND_COLUMNS`, after the first, as text; empty if there is no kind."""
    if found is None:
        return []
    values = found.auc, found.abnormal_only_auc, found.recall, found.video_recall
    return [str(found.n_videos), *("-" if value is None else f"{value:.3f}" for value in values)]


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
